//! The pure core against tables: plans, rules, budgets, verification.
#![expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod canonical;
mod cases;
mod epochs;
mod planning;
mod replay;
mod rules;
mod support;
mod verification;
