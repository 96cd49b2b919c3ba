//! `palisade worker` as a process, with real programs, on real stores. A checker ends every run.

mod checker;
mod interrupted;
mod faults;
mod programs;
mod proofs;
mod reaped;
mod yard;
