//! PM2 as a resource, against the real thing.

mod acquainted;
mod bed;
mod bundle;
mod client;
mod list;
mod locate;
mod methods;
mod resource;
mod restart;
mod restore;
mod wire;
