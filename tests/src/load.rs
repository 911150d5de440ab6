//! A load of requests: as many as are asked for, over connections that stay open, and how long they take.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// How long a connection may say nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: load\r\n\r\n";

/// Sends requests by HTTP over several connections at once, and returns how long all of them took together.
///
/// # Errors
/// If one is not answered with the status 200.
pub fn send(address: SocketAddr, connections: u32, requests: u32) -> io::Result<Duration> {
    let begin = Instant::now();
    thread::scope(|scope| {
        let each = requests / connections;
        let senders: Vec<_> = (0..connections)
            .map(|_| scope.spawn(move || send_in_turn(address, each)))
            .collect();
        senders
            .into_iter()
            .try_for_each(|sender| sender.join().expect("a sender does not panic"))
    })?;
    Ok(begin.elapsed())
}

fn send_in_turn(address: SocketAddr, requests: u32) -> io::Result<()> {
    let mut connection: Option<BufReader<TcpStream>> = None;
    for _ in 0..requests {
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => BufReader::new(connect(address)?),
        };
        stream.get_mut().write_all(REQUEST)?;
        if read_response(&mut stream)? {
            connection = Some(stream);
        }
    }
    Ok(())
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    Ok(stream)
}

/// Reads an answer to its end, and says whether another one may follow it.
fn read_response(stream: &mut BufReader<TcpStream>) -> io::Result<bool> {
    let mut length = 0;
    let mut is_kept = true;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(format!("the answer begins with {line:?}")));
    }
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            Some(("connection", value)) => is_kept = value != "close",
            Some(_) => {}
            None => break,
        }
    }
    io::copy(&mut stream.take(length), &mut io::sink())?;
    Ok(is_kept)
}
