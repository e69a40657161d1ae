//! Where connections come from: a TCP address or a private socket.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use gatepost_config::Listen;
use tokio::net::{TcpListener, TcpStream};

/// When no file descriptor is left, accepting fails at once and for ever; a pause keeps the processor free to serve those
/// who are connected.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// A bound listener.
pub struct Listener {
    kind: Kind,
}

enum Kind {
    Tcp(TcpListener, Option<SocketAddr>),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, PathBuf),
}

/// An accepted connection.
pub(crate) enum Socket {
    Tcp(TcpStream, IpAddr),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Listener {
    /// Binds `listen`.
    ///
    /// # Errors
    /// When the address is taken or not ours, or the socket's folder cannot be written.
    pub async fn bind(listen: &Listen) -> io::Result<Self> {
        let kind = match listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr().ok();
                Kind::Tcp(listener, address)
            }
            #[cfg(unix)]
            Listen::Unix(path) => {
                remove_stale(path).await?;
                Kind::Unix(tokio::net::UnixListener::bind(path)?, path.clone())
            }
            #[cfg(not(unix))]
            Listen::Unix(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "unix sockets need a Unix system",
                ));
            }
        };
        Ok(Self { kind })
    }

    /// The TCP address it is bound to, with the real port; nothing for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(_, address) => *address,
            #[cfg(unix)]
            Kind::Unix(..) => None,
        }
    }

    /// Whether only this machine can reach it.
    pub fn is_private(&self) -> bool {
        self.address().is_none_or(|address| address.ip().is_loopback())
    }

    pub(crate) async fn accept(&mut self) -> Socket {
        loop {
            let accepted = match &self.kind {
                Kind::Tcp(listener, _) => listener.accept().await.map(|(socket, from)| {
                    // Without it Nagle and delayed acknowledgements make an event stream 40 ms late at every step.
                    let _ = socket.set_nodelay(true);
                    Socket::Tcp(socket, from.ip().to_canonical())
                }),
                #[cfg(unix)]
                Kind::Unix(listener, _) => listener.accept().await.map(|(socket, _)| Socket::Unix(socket)),
            };
            match accepted {
                Ok(socket) => return socket,
                Err(error) => {
                    tracing::warn!(target: "gatepost::http", %error, "a connection could not be accepted");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Kind::Unix(_, path) = &self.kind {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket file that nobody listens on any more is left over from a gate that was killed; one that somebody listens on
/// is not ours to take.
#[cfg(unix)]
async fn remove_stale(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name which is not a socket",
        ));
    }
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens on this socket",
        )),
        Err(_) => std::fs::remove_file(path),
    }
}
