//! Remarks that accept one finding: `# palisade: accept PAL-705 the daemon is this app's own`.

use std::collections::{BTreeMap, BTreeSet};

use palisade_core::Code;

use crate::walk::Spot;

const MARK: &str = "palisade: accept ";

/// A remark.
#[derive(Debug, Clone)]
struct Remark {
    line: usize,
    code: Option<Code>,
    reason: String,
}

/// The remarks of the files that findings stand in.
pub(crate) struct Acceptances<'a> {
    read: &'a dyn Fn(&str) -> Option<String>,
    remarks: BTreeMap<String, Vec<Remark>>,
    used: BTreeSet<(String, usize)>,
}

impl<'a> Acceptances<'a> {
    pub(crate) fn new(read: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { read, remarks: BTreeMap::new(), used: BTreeSet::new() }
    }

    /// Makes sure that a file's remarks are known.
    pub(crate) fn look_at(&mut self, file: &str) {
        if !self.remarks.contains_key(file) {
            let text = (self.read)(file).unwrap_or_default();
            let remark = |(at, line): (usize, &str)| {
                let (before, rest) = line.split_once(MARK)?;
                let is_remark = before.trim_end().ends_with(['#', '/']);
                let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                is_remark.then(|| Remark {
                    line: at + 1,
                    code: code.trim().parse().ok(),
                    reason: reason.trim().to_owned(),
                })
            };
            self.remarks.insert(file.to_owned(), text.lines().enumerate().filter_map(remark).collect());
        }
    }

    /// The reason for which a finding is accepted: at its own place, or at one of the lines that lead there.
    pub(crate) fn of(&mut self, code: Code, spot: &Spot, via: &[Spot]) -> Option<String> {
        std::iter::once(spot).chain(via).find_map(|spot| self.at(code, spot))
    }

    fn at(&mut self, code: Code, spot: &Spot) -> Option<String> {
        self.look_at(&spot.file);
        let remarks = self.remarks.get(&spot.file)?;
        let is_near = |remark: &&Remark| {
            remark.code == Some(code)
                && (remark.line == spot.line || remark.line + 1 == spot.line)
                && !remark.reason.is_empty()
        };
        let remark = remarks.iter().find(is_near)?;
        self.used.insert((spot.file.clone(), remark.line));
        Some(remark.reason.clone())
    }

    /// Remarks that accept nothing, with what is wrong with them.
    pub(crate) fn idle(&self) -> Vec<(Spot, String)> {
        let idle = |file: &String, remark: &Remark| {
            let message = match (remark.code, remark.reason.is_empty()) {
                (None, _) => "this accepts no code: it is written PAL-nnn".to_owned(),
                (Some(code), true) => format!("{code} is accepted without a reason, so it is not"),
                (Some(code), false) => format!("there is no {code} here to accept"),
            };
            let is_used = self.used.contains(&(file.clone(), remark.line));
            (!is_used).then(|| (Spot { file: file.clone(), line: remark.line }, message))
        };
        let all =
            self.remarks.iter().flat_map(|(file, remarks)| remarks.iter().map(move |remark| (file, remark)));
        all.filter_map(|(file, remark)| idle(file, remark)).collect()
    }
}
