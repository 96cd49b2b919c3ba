//! `palisade worker` as a process, with real programs, on real stores. A checker ends every run.

mod checker;
mod faults;
mod interrupted;
mod programs;
mod proofs;
mod reaped;
mod stuck;
mod yard;
