//! Which IP addresses belong to the public internet, and ranges of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses, such as 10.0.0.0/8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AddressRange {
    first: IpAddr,
    bits: u8,
}

impl AddressRange {
    /// `None` where the length is more than an address has, or a bit after it is set.
    pub(super) fn new(first: IpAddr, bits: u8) -> Option<Self> {
        let (value, width) = number(first);
        let host_bits = u32::from(width.checked_sub(bits)?);
        let rest = value & !u128::MAX.checked_shl(host_bits).unwrap_or(0);
        (rest == 0).then_some(Self { first, bits })
    }

    /// Whether `address` is in the range. An IPv4 address is in no range of IPv6 ones.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let ((first, width), (other, other_width)) = (number(self.first), number(address));
        let host_bits = u32::from(width - self.bits);
        let network = |value: u128| value.checked_shr(host_bits).unwrap_or(0);
        width == other_width && network(first) == network(other)
    }

    /// Whether some address is in both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first {
            IpAddr::V4(first) => write!(f, "{first}/{}", self.bits),
            IpAddr::V6(first) => write!(f, "[{first}]/{}", self.bits),
        }
    }
}

/// An address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

/// Whether `address` is an ordinary public unicast address.
///
/// Loopback, private, link-local (where clouds keep their metadata services), shared, benchmark,
/// documentation, multicast and reserved ranges are not, and neither are 192.0.0.0/24, 2001::/23
/// and the old 6to4 relays as a whole, though IANA's special-purpose registries call parts of them
/// globally reachable. The ranges of AS112 and AMT, which stand there too, are public: they lead to
/// nothing of this machine or its network. IPv6 forms that carry an IPv4 address are judged by that
/// address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, d] = v4.octets();
    let special = match a {
        0 | 10 | 127 => true,
        100 => (64..128).contains(&b),
        // Public by its range, but on one cloud the address of every machine's own secrets.
        168 => [b, c, d] == [63, 129, 16],
        169 => b == 254,
        172 => (16..32).contains(&b),
        192 => b == 168 || (b == 0 && (c == 0 || c == 2)) || (b == 88 && c == 99),
        198 => b == 18 || b == 19 || (b == 51 && c == 100),
        203 => b == 0 && c == 113,
        _ => a >= 224,
    };
    !special
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let s = v6.segments();
    let tail = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        // ::ffff:a.b.c.d, and NAT64's 64:ff9b::a.b.c.d
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            tail(high, low)
        }
        // 6to4
        [0x2002, high, low, ..] => tail(high, low),
        // Teredo, ORCHID, benchmarking and other protocol assignments; documentation
        [0x2001, second, ..] if second < 0x0200 || second == 0x0db8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // Global unicast is 2000::/3; all else is local, multicast, unspecified or reserved.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_not_public() {
        let special = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "3fff::1",
            "::7f00:1",
        ];
        for address in special {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let range = |first: &str, bits| AddressRange::new(first.parse().unwrap(), bits);
        let holds = |range: Option<AddressRange>, address: &str| {
            range.unwrap().contains(address.parse().unwrap())
        };
        assert!(holds(range("10.0.0.0", 8), "10.255.255.255"));
        assert!(!holds(range("10.0.0.0", 8), "11.0.0.0"));
        assert!(holds(range("127.0.0.1", 32), "127.0.0.1"));
        assert!(!holds(range("127.0.0.1", 32), "127.0.0.0"));
        assert!(holds(range("0.0.0.0", 0), "255.255.255.255"));
        assert!(!holds(range("0.0.0.0", 0), "::1"));
        assert!(holds(range("::", 0), "ffff::"));
        assert!(holds(range("fd00::", 8), "fdff::1"));
        assert_eq!(range("10.0.0.1", 8), None);
        assert_eq!(range("10.0.0.0", 33), None);
        assert_eq!(range("::1", 0), None);
    }

    #[test]
    fn ordinary_addresses_are_public() {
        let public = [
            "1.1.1.1",
            "93.184.216.34",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "192.0.1.1",
            "223.255.255.254",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
