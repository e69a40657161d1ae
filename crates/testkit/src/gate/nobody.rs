//! An address at which nobody is.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

use super::fail;

/// Nobody listens at this address, and nobody else can while this lives: a port that is only known to have been free may
/// belong to another test by the time that it is used.
#[derive(Debug)]
pub struct Nobody {
    address: SocketAddr,
    _taken: TcpSocket,
}

impl Nobody {
    /// Takes a free port of the loopback.
    pub fn anywhere() -> Self {
        let taken = || {
            let socket = TcpSocket::new_v4()?;
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            Ok::<_, std::io::Error>((socket.local_addr()?, socket))
        };
        match taken() {
            Ok((address, socket)) => Self {
                address,
                _taken: socket,
            },
            Err(error) => fail(format_args!("take a port: {error}")),
        }
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_answers_and_nobody_can_listen_there() {
        let nobody = Nobody::anywhere();
        let connecting = tokio::net::TcpStream::connect(nobody.address()).await;
        assert_eq!(
            connecting.map(drop).map_err(|error| error.kind()),
            Err(std::io::ErrorKind::ConnectionRefused)
        );
        assert!(tokio::net::TcpListener::bind(nobody.address()).await.is_err());
    }
}
