//! Which addresses are public, against the registries of IANA as text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kami_core::grants::is_public;

/// What IANA's registries of special-purpose addresses do not call globally reachable, the ranges
/// of multicast, and the address at which one cloud keeps every machine's secrets.
const SPECIAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// What carries an address of the other kind behind its prefix, and is judged by that.
const CARRIERS: &[&str] = &["::ffff:0:0/96", "64:ff9b::/96", "2002::/16"];

/// The only range of which IANA gives addresses to anybody.
const UNICAST: &str = "2000::/3";

/// Reads four or sixteen `bytes` as an address.
///
/// # Panics
/// Where `is_public` and the table disagree.
pub fn check(bytes: &[u8]) {
    if let Some(v4) = bytes.first_chunk::<4>() {
        check_address(IpAddr::V4(Ipv4Addr::from(*v4)));
    }
    if let Some(v6) = bytes.first_chunk::<16>() {
        check_address(IpAddr::V6(Ipv6Addr::from(*v6)));
    }
}

fn check_address(address: IpAddr) {
    assert_eq!(is_public(address), is_public_by_table(address), "{address}");
}

/// What the table says.
pub(crate) fn is_public_by_table(address: IpAddr) -> bool {
    let bits = bits(address);
    if let Some(carrier) = CARRIERS.iter().find(|range| bits.starts_with(&prefix(range))) {
        let behind = &bits[prefix(carrier).len()..][..32];
        let carried = u32::from_str_radix(behind, 2).expect("32 digits of base 2");
        return is_public_by_table(IpAddr::V4(Ipv4Addr::from(carried)));
    }
    let given_out = address.is_ipv4() || bits.starts_with(&prefix(UNICAST));
    given_out && !SPECIAL.iter().any(|range| bits.starts_with(&prefix(range)))
}

/// The digits of an address in base 2; one letter before them tells the kinds apart.
fn bits(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("4{:032b}", u32::from(v4)),
        IpAddr::V6(v6) => format!("6{:0128b}", u128::from(v6)),
    }
}

fn prefix(range: &str) -> String {
    let (address, length) = range.split_once('/').expect("a range has a length");
    let length: usize = length.parse().expect("the length is a number");
    bits(address.parse().expect("a range has an address"))[..=length].to_owned()
}

/// The first, the last and the neighbours of every range, bare and carried.
pub fn examples() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for range in SPECIAL.iter().chain(CARRIERS).chain([&UNICAST, &"1.1.1.1/32"]) {
        let (address, length) = range.split_once('/').expect("a range has a length");
        let address: IpAddr = address.parse().expect("a range has an address");
        let length: u32 = length.parse().expect("the length is a number");
        match address {
            IpAddr::V4(v4) => {
                let first = u32::from(v4);
                let last = first | u32::MAX.checked_shr(length).unwrap_or(0);
                for edge in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
                    all.push(edge.to_be_bytes().to_vec());
                    all.push((0xffff_0000_0000 | u128::from(edge)).to_be_bytes().to_vec());
                }
            }
            IpAddr::V6(v6) => {
                let first = u128::from(v6);
                let last = first | u128::MAX.checked_shr(length).unwrap_or(0);
                let edges = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                all.extend(edges.map(|edge| edge.to_be_bytes().to_vec()));
            }
        }
    }
    all
}
