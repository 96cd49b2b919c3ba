//! What a client does that two guards have to answer alike: the rules before PM2 and the guard in PostgreSQL. Each side
//! plays every case in its own terms, so that neither forgets one that the other knows.

/// A deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A client takes what is its own.
    Own,
    /// A client of another environment takes what is ours, with a right credential.
    Foreign,
    /// A client of the right app whose build is below the minimum.
    StaleBuild,
    /// A client of the right app that says no build, where one is asked for.
    UnknownBuild,
    /// One step takes everything there is.
    Everything,
    /// Step by step more is taken than the budget has, within its window.
    OverBudget,
    /// The same after the window is over.
    AfterTheWindow,
    /// What a rule refuses, where the guard only observes.
    Observed,
    /// What a rule refuses, where a person has opened the guard.
    Opened,
}

/// A deed, and the code of the rule that each side refuses it by; `None` where it passes.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What is done.
    pub deed: Deed,
    /// The number behind `PAL-` of the rules before PM2.
    pub pm2: Option<u16>,
    /// The number behind `PAL-` of the guard in PostgreSQL.
    pub database: Option<u16>,
}

const fn case(deed: Deed, pm2: Option<u16>, database: Option<u16>) -> Case {
    Case { deed, pm2, database }
}

/// Every case. Where the two sides differ, the difference is meant: a database that refused an unknown build would stop
/// every app on the day it is guarded, so it does that only where identity is required.
pub const CASES: [Case; 9] = [
    case(Deed::Own, None, None),
    case(Deed::Foreign, Some(101), Some(335)),
    case(Deed::StaleBuild, Some(701), Some(323)),
    case(Deed::UnknownBuild, Some(702), Some(321)),
    case(Deed::Everything, Some(102), Some(303)),
    case(Deed::OverBudget, Some(109), Some(302)),
    case(Deed::AfterTheWindow, None, None),
    case(Deed::Observed, None, None),
    case(Deed::Opened, None, None),
];
