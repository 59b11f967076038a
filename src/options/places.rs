//! The addresses of a listener: a name stands for every address that it has on this machine.

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use std::io;
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs, UdpSocket,
};

/// The unspecified addresses, for every address of this machine.
const EVERYWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// The addresses that only this machine reaches.
pub(crate) const LOCAL: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// The addresses of `host`, or of every interface without a host; IPv4 first. `family` keeps one
/// family, perhaps leaving no address.
///
/// # Errors
/// `host` is a name without an address.
pub(crate) fn resolve(host: Option<&str>, family: Option<&str>) -> io::Result<Vec<IpAddr>> {
    let mut found = match host.map(|host| (host, host.parse())) {
        None => EVERYWHERE.to_vec(),
        Some((_, Ok(address))) => vec![address],
        Some((host, Err(_))) => (host, 0).to_socket_addrs()?.map(|address| address.ip()).collect(),
    };
    found.retain(|address| family.is_none_or(|family| (family == "ipv4") == address.is_ipv4()));
    found.sort();
    found.dedup();
    Ok(usable(found))
}

/// The addresses of the interface `name` that are among `wanted`, with `port`. An unspecified one
/// stands for all of its family. Upper and lower case of the name are the same, as in Mosquitto.
///
/// # Errors
/// The interface does not exist, or has no such address: the cause.
pub(crate) fn of_interface(
    name: &str,
    wanted: &[IpAddr],
    port: u16,
) -> Result<Vec<SocketAddr>, String> {
    let all = getifaddrs().map_err(|error| format!("the interfaces cannot be read: {error}"))?;
    let of_it: Vec<_> = all.filter(|it| it.interface_name.eq_ignore_ascii_case(name)).collect();
    if of_it.is_empty() {
        return Err(format!("there is no {name:?} among this machine's interfaces"));
    }
    let is_wanted = |found: &SocketAddr| {
        let is_it = |ip: &IpAddr| {
            *ip == found.ip() || ip.is_unspecified() && ip.is_ipv4() == found.is_ipv4()
        };
        wanted.iter().any(is_it)
    };
    let addresses = of_it.iter().filter_map(|it| ip_address(it, port));
    let addresses: Vec<_> = addresses.filter(is_wanted).collect();
    if addresses.is_empty() {
        return Err(format!("{name} has no address that the listener asks for"));
    }
    Ok(addresses)
}

/// The address of an interface, if it is one of IP.
fn ip_address(found: &InterfaceAddress, port: u16) -> Option<SocketAddr> {
    let address = found.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|it| SocketAddr::V4(SocketAddrV4::from(*it)));
    let v6 = || address.as_sockaddr_in6().map(|it| SocketAddr::V6(SocketAddrV6::from(*it)));
    let mut address = v4.or_else(v6)?;
    address.set_port(port);
    Some(address)
}

/// The addresses that this machine has, or all of them when it has none. So a machine without IPv6
/// gets IPv4 alone.
pub(crate) fn usable(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let is_here = |address: &IpAddr| UdpSocket::bind(SocketAddr::new(*address, 0)).is_ok();
    let here: Vec<_> = addresses.iter().copied().filter(is_here).collect();
    if here.is_empty() { addresses } else { here }
}
