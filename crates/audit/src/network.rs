//! Addresses and networks.

use std::fmt;
// Only values: the module of `core` can reach no network.
use core::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// An address or a network, as `10.0.3.7` or `10.0.0.0/16`; or `local`, a socket of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A socket of the file system.
    Local,
    /// Addresses that begin with these bits.
    Bits(IpAddr, u8),
}

/// The text is neither address nor network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network: write 10.0.3.7, 10.0.0.0/16, 2001:db8::/32 or local")]
pub struct NotANetwork(String);

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        if text == "local" {
            return Ok(Self::Local);
        }
        let wrong = || NotANetwork(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(wrong()) } else { Ok(Self::Bits(address, bits)) }
    }
}

impl Network {
    /// Whether a client's address is in it; `None` where that cannot be said, because the log names a host.
    #[must_use]
    pub fn holds(&self, address: &str) -> Option<bool> {
        if address == "local" {
            return Some(*self == Self::Local);
        }
        // An address of a link has its interface behind a percent sign.
        let address = address.split_once('%').map_or(address, |(address, _)| address);
        let address: IpAddr = address.parse().ok()?;
        Some(match (*self, address.to_canonical()) {
            (Self::Local, _) => false,
            (Self::Bits(IpAddr::V4(network), bits), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                u32::from(network) & mask == u32::from(address) & mask
            }
            (Self::Bits(IpAddr::V6(network), bits), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                u128::from(network) & mask == u128::from(address) & mask
            }
            (Self::Bits(..), _) => false,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Bits(IpAddr::V4(address), 32) => write!(f, "{address}"),
            Self::Bits(IpAddr::V6(address), 128) => write!(f, "{address}"),
            Self::Bits(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_network_and_in_no_other() {
        for (network, address, holds) in [
            ("10.0.0.0/16", "10.0.255.1", Some(true)),
            ("10.0.0.0/16", "10.1.0.1", Some(false)),
            ("10.0.0.0/16", "::ffff:10.0.0.1", Some(true)),
            ("0.0.0.0/0", "192.0.2.1", Some(true)),
            ("10.0.0.7", "10.0.0.7", Some(true)),
            ("2001:db8::/32", "2001:db8:1::1", Some(true)),
            ("::/0", "10.0.0.7", Some(false)),
            ("fe80::/10", "fe80::1%eth0", Some(true)),
            ("local", "local", Some(true)),
            ("local", "10.0.0.7", Some(false)),
            ("10.0.0.0/8", "local", Some(false)),
            ("10.0.0.0/8", "db.example.org", None),
        ] {
            assert_eq!(network.parse::<Network>().unwrap().holds(address), holds, "{network} {address}");
            assert_eq!(network.parse::<Network>().unwrap().to_string(), network);
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0", "host", "10.0.0.0/x"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
