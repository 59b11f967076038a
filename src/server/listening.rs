//! The listening sockets: one per address and worker.
#![forbid(unsafe_code)]

use super::failure::Failure;
use crate::io::socket::{Listener, check_free};
use std::io;
use std::net::SocketAddr;

/// For each worker its listeners, one per address. The addresses come back with their real ports.
pub(super) fn listen(
    addresses: &[SocketAddr],
    workers: usize,
) -> Result<(Vec<SocketAddr>, Vec<Vec<Listener>>), Failure> {
    for (index, address) in addresses.iter().enumerate() {
        if address.port() != 0 && addresses[..index].contains(address) {
            return Err(Failure::usage(format_args!("--listen: {address} is given twice")));
        }
    }
    let mut bound = Vec::new();
    let mut listeners: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    for &address in addresses {
        bound.push(listen_on(address, &mut listeners).map_err(|error| refused(address, &error))?);
    }
    Ok((bound, listeners))
}

/// Every worker listens on the address; the first one finds out the port.
fn listen_on(address: SocketAddr, listeners: &mut [Vec<Listener>]) -> io::Result<SocketAddr> {
    check_free(address)?;
    let mut real = address;
    for worker in listeners {
        let listener = Listener::bind(real)?;
        real = listener.address();
        worker.push(listener);
    }
    Ok(real)
}

fn refused(address: SocketAddr, error: &io::Error) -> Failure {
    let cause = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "another program listens there; stop it or choose another --listen".to_owned()
        }
        Some(libc::EADDRNOTAVAIL) => {
            "no network interface has this address; see ip address, or use 0.0.0.0".to_owned()
        }
        Some(libc::EACCES | libc::EPERM) => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE; choose another --listen"
                .to_owned()
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "no descriptor is left; raise the limit (ulimit -n, LimitNOFILE=)".to_owned()
        }
        _ => error.to_string(),
    };
    Failure::start(format_args!("cannot listen on {address}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn all_workers_share_the_port_that_the_first_one_got() {
        let (bound, listeners) = listen(&[any_port(), any_port()], 3).unwrap();
        assert_ne!(bound[0].port(), bound[1].port());
        for worker in &listeners {
            let addresses: Vec<_> = worker.iter().map(Listener::address).collect();
            assert_eq!(addresses, bound);
        }
    }

    #[test]
    fn a_second_broker_does_not_share_the_address() {
        let (bound, _listeners) = listen(&[any_port()], 1).unwrap();
        let failure = listen(&bound, 1).unwrap_err();
        assert!(failure.line().contains("another program listens there"), "{}", failure.line());
        let failure = listen(&[bound[0], bound[0]], 1).unwrap_err();
        assert!(failure.line().contains("given twice"), "{}", failure.line());
    }
}
