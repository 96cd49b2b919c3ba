//! The rule in small steps, over random histories, and in a simulated world.

mod court;
mod gates;
mod properties;
mod rulings;
mod simulation;
