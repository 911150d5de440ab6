//! The TCP connections of the host, as the kernel reports them: `sock_diag(7)`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_ESTABLISHED, TCP_LISTEN},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::{Socket, SocketAddr as KernelAddress, protocols::NETLINK_SOCK_DIAG};
use tokio::{net::TcpSocket, time::timeout};

use super::{HostError, Reader};

/// How long a connection within the host may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How much the kernel sends at once, in bytes.
const BUFFER: usize = 32 << 10;

/// One end of a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConnection {
    /// The address of this host.
    pub local: SocketAddr,
    /// That of the other end; port 0 where nobody has connected yet.
    pub remote: SocketAddr,
    /// Whether it only waits for others to connect.
    pub is_listening: bool,
    /// Whether it has been made; else the other end has asked for it, or is asked.
    pub is_established: bool,
    /// How long ago a packet of the other end came in.
    pub since_last_received: Duration,
    /// Bytes that the other end has not acknowledged.
    pub unacked_bytes: u32,
}

impl Reader {
    /// Returns all TCP connections and those who wait for some.
    pub fn connections(&self) -> Result<Vec<TcpConnection>, HostError> {
        let mut found = vec![];
        for (family, socket_id) in [
            (AF_INET, SocketId::new_v4()),
            (AF_INET6, SocketId::new_v6()),
        ] {
            let request = InetRequest {
                family,
                protocol: IPPROTO_TCP,
                extensions: ExtensionFlags::INFO,
                states: StateFlags::ESTABLISHED | StateFlags::SYN_RECV | StateFlags::LISTEN,
                socket_id,
            };
            let answers = dump_sockets(request).map_err(|error| HostError::Service {
                service: "the kernel's list of sockets".to_owned(),
                fault: error.to_string(),
            })?;
            found.extend(answers.iter().map(TcpConnection::from_response));
        }
        Ok(found)
    }

    /// Asks for a new connection to an address of this host, and says whether it is taken. It is, too, when the question arrives and only the
    /// answer does not, because a rule stops it: whoever asks from elsewhere is not in its way.
    pub async fn tcp_probe(&self, at: SocketAddr) -> Result<TcpProbe, HostError> {
        let failed = |error: std::io::Error| HostError::Service {
            service: at.to_string(),
            fault: error.to_string(),
        };
        let asked = async {
            let from = SocketAddr::new(at.ip(), 0);
            let socket = if at.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            socket.bind(from)?;
            let here = socket.local_addr()?;
            Ok((here, timeout(PROBE_TIMEOUT, socket.connect(at)).await))
        };
        let (here, said) = asked.await.map_err(failed)?;
        Ok(match said {
            Ok(Ok(_)) => TcpProbe::Accepted,
            Ok(Err(error)) => TcpProbe::Refused(error.to_string()),
            Err(_) if self.connections()?.iter().any(|one| one.remote == here) => {
                TcpProbe::Accepted
            }
            Err(_) => TcpProbe::Dropped,
        })
    }
}

/// What becomes of a question for a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpProbe {
    /// Somebody takes it.
    Accepted,
    /// Nobody listens.
    Refused(String),
    /// A rule stops it.
    Dropped,
}

impl TcpConnection {
    fn from_response(answer: &InetResponse) -> Self {
        let id = &answer.header.socket_id;
        // A connection of IPv4 through a socket of IPv6 has addresses such as ::ffff:192.0.2.1.
        let address = |address: IpAddr, port| SocketAddr::new(address.to_canonical(), port);
        let info = answer.nlas.iter().find_map(|nla| match nla {
            Nla::TcpInfo(info) => Some(info),
            _ => None,
        });
        let heard = info.map_or(u64::MAX, |info| u64::from(info.last_ack_recv));
        Self {
            local: address(id.source_address, id.source_port),
            remote: address(id.destination_address, id.destination_port),
            is_listening: answer.header.state == TCP_LISTEN,
            is_established: answer.header.state == TCP_ESTABLISHED,
            since_last_received: Duration::from_millis(heard),
            unacked_bytes: answer.header.send_queue,
        }
    }
}

fn dump_sockets(request: InetRequest) -> std::io::Result<Vec<InetResponse>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&KernelAddress::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut packet = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut found = vec![];
    loop {
        let mut buffer = Vec::with_capacity(BUFFER);
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let message = <NetlinkMessage<SockDiagMessage>>::deserialize(rest)
                .map_err(std::io::Error::other)?;
            let length = usize::try_from(message.header.length).unwrap_or(rest.len());
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(answer)) => {
                    found.push(*answer);
                }
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            rest = rest.get(length.max(1)..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes the connection that it looks for"
)]
mod tests {
    use std::path::Path;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn connections_include_listeners_and_peers() {
        let reader = Reader::new(Path::new("/"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        assert_eq!(reader.tcp_probe(at).await.unwrap(), TcpProbe::Accepted);
        drop(listener.accept().await.unwrap());
        // One that stays: whoever knocks goes again.
        let client = TcpStream::connect(at).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let found = reader.connections().unwrap();
        assert!(found.iter().any(|one| one.is_listening && one.local == at));
        let mut ends = found
            .iter()
            .filter(|one| one.is_established && one.local == at);
        assert_eq!(ends.next().unwrap().remote, stream.peer_addr().unwrap());
        drop((client, stream, listener));
        assert!(matches!(
            reader.tcp_probe(at).await.unwrap(),
            TcpProbe::Refused(_)
        ));
    }
}
