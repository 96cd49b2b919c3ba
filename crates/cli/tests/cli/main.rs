//! The palisade binary as its users meet it: as a process, on real PM2 daemons, judged by what it prints, what it
//! leaves on disk and what runs afterwards.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nobody to return an error to")]

mod audit;
mod bypass;
mod ci;
mod codes;
mod database;
mod deploy;
mod env;
mod epochs;
mod failures;
mod full_disk;
mod guard;
mod interrupted;
mod jobs;
mod journal;
mod layer1;
mod lifecycle;
mod managed;
mod manners;
mod modules;
mod notify;
mod older;
mod other_user;
mod owner;
mod packaging;
mod pages;
mod reaper;
mod reboot;
mod recorded;
mod rotate;
mod said;
mod secrets;
mod separate;
mod setting_up;
mod stamps;
mod trials;
mod undo;
mod watched;
mod worker;
