//! The addresses of this host: getifaddrs(3).

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
};

use nix::ifaddrs::getifaddrs;

use super::{HostError, Reader};

/// An address far away that nobody has: RFC 5737. Nothing is sent there.
const DOCUMENTATION_ADDR: (&str, u16) = ("198.51.100.1", 9);

impl Reader {
    /// Returns the addresses of all interfaces that are up, each with the name of its interface.
    pub fn addresses(&self) -> Result<Vec<(String, IpAddr)>, HostError> {
        let failed = HostError::io("list the addresses of", Path::new("/sys/class/net"));
        let found = getifaddrs().map_err(failed)?;
        let addresses = found.filter_map(|one| {
            let address = one.address?;
            let four = address.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
            let six = address.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip()));
            Some((one.interface_name, four.or(six)?))
        });
        Ok(addresses.collect())
    }

    /// Returns the address with which this host goes out, by its default route; `None` if it has none.
    pub fn outbound_address(&self) -> Option<IpAddr> {
        let asked = || {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.connect(DOCUMENTATION_ADDR)?;
            socket.local_addr()
        };
        let asked: io::Result<SocketAddr> = asked();
        asked.ok().map(|address| address.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_include_loopback_and_outward_address() {
        let reader = Reader::new(Path::new("/"));
        let found = reader.addresses().unwrap();
        let own = ("lo".to_owned(), IpAddr::from([127, 0, 0, 1]));
        assert!(found.contains(&own), "{found:?}");
        if let Some(outward) = reader.outbound_address() {
            assert!(found.iter().any(|(_, address)| *address == outward));
        }
    }
}
