//! Queries to DNS servers: RFC 1035.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, TYPE, header_buffer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, UdpSocket},
    time::{sleep, timeout},
};

use super::Reader;

/// How long a server may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// After so long a question is sent once more: packets get lost.
const RESEND_AFTER: Duration = Duration::from_millis(700);
/// The longest answer over UDP that is looked at, in bytes.
const MAX_UDP_ANSWER: usize = 4096;

impl Reader {
    /// Asks a server for the addresses of a name, over UDP and TCP at once, from an address of this host if one is given. Any answer will do: that
    /// there is no such name is one too. Returns why none came.
    pub async fn query_name_server(
        &self,
        server: SocketAddr,
        name: &str,
        from: Option<IpAddr>,
    ) -> Result<(), String> {
        // Nobody guesses it: the answer is believed by where it comes from.
        let id = std::process::id().to_le_bytes();
        let id = u16::from_le_bytes([id[0], id[1]]);
        let question = question(id, name).map_err(|error| error.to_string())?;
        let from = from.map(|from| SocketAddr::new(from, 0));
        let asked = async {
            let (udp, tcp) = (
                query_udp(server, &question, id, from),
                query_tcp(server, &question, id, from),
            );
            tokio::pin!(udp, tcp);
            // The one that fails first leaves the other its time.
            tokio::select! {
                said = &mut udp => match said {
                    Ok(()) => Ok(()),
                    Err(fault) => tcp.await.map_err(|_| fault),
                },
                said = &mut tcp => match said {
                    Ok(()) => Ok(()),
                    Err(_) => udp.await,
                },
            }
        };
        match timeout(DEADLINE, asked).await {
            Ok(said) => said.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
        }
    }
}

fn question(id: u16, name: &str) -> Result<Vec<u8>, simple_dns::SimpleDnsError> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let (kind, class) = (QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN));
    let question = Question::new(Name::new(name)?, kind, class, false);
    packet.questions.push(question);
    packet.build_bytes_vec()
}

fn is_answer(bytes: &[u8], id: u16) -> bool {
    let is_response = header_buffer::has_flags(bytes, PacketFlag::RESPONSE).unwrap_or(false);
    is_response && header_buffer::id(bytes).ok() == Some(id)
}

async fn query_udp(
    server: SocketAddr,
    question: &[u8],
    id: u16,
    from: Option<SocketAddr>,
) -> io::Result<()> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(from.unwrap_or(any)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut bytes = [0; MAX_UDP_ANSWER];
    loop {
        tokio::select! {
            length = socket.recv(&mut bytes) => {
                if is_answer(&bytes[..length?], id) {
                    return Ok(());
                }
            }
            () = sleep(RESEND_AFTER) => drop(socket.send(question).await?),
        }
    }
}

async fn query_tcp(
    server: SocketAddr,
    question: &[u8],
    id: u16,
    from: Option<SocketAddr>,
) -> io::Result<()> {
    let socket = if server.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(from) = from {
        socket.bind(from)?;
    }
    let mut stream = socket.connect(server).await?;
    // Over TCP each message has its length before it: RFC 1035, 4.2.2.
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes()[..], question].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    if is_answer(&bytes, id) {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::InvalidData))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers a question, or sends back what it was asked.
    async fn server(answers: bool) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut bytes = [0; MAX_UDP_ANSWER];
            while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
                let asked = Packet::parse(&bytes[..length]).unwrap();
                assert_eq!(asked.questions[0].qname.to_string(), "example.org");
                let said = if answers {
                    asked.into_reply().build_bytes_vec().unwrap()
                } else {
                    bytes[..length].to_vec()
                };
                drop(socket.send_to(&said, from).await);
            }
        });
        at
    }

    async fn query(server: SocketAddr) -> Result<(), String> {
        let reader = Reader::new(Path::new("/"));
        let from = Some("127.0.0.2".parse().unwrap());
        reader.query_name_server(server, "example.org", from).await
    }

    #[tokio::test]
    async fn dns_query_accepts_only_replies() {
        assert_eq!(query(server(true).await).await, Ok(()));
        let silent = query(server(false).await).await;
        assert_eq!(silent, Err("no answer within 2 s".to_owned()));
    }

    #[tokio::test]
    async fn dns_query_falls_back_to_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, from) = listener.accept().await.unwrap();
            assert_eq!(from.ip().to_string(), "127.0.0.2");
            let length = stream.read_u16().await.unwrap();
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await.unwrap();
            let said = Packet::parse(&bytes).unwrap().into_reply();
            let said = said.build_bytes_vec().unwrap();
            stream.write_u16(length).await.unwrap();
            stream.write_all(&said).await.unwrap();
        });
        assert_eq!(query(at).await, Ok(()));
        let refused = query(at).await.unwrap_err();
        assert!(refused.contains("refused"), "{refused}");
    }
}
