//! The body of a request that is sent while it is read, so that a file of any size takes the memory of one piece.

use std::{
    io::{self, Read},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// How much is read at once, in bytes.
const CHUNK: u64 = 256 << 10;

/// A reader of which so many bytes are sent.
#[derive(Debug)]
pub(super) struct UploadBody<R> {
    reader: R,
    remaining: u64,
    sent: Arc<AtomicU64>,
}

impl<R: Read> UploadBody<R> {
    /// Sends the first `length` bytes of `reader`; if it has fewer, the request fails.
    pub(super) fn new(reader: R, length: u64) -> Self {
        Self {
            reader,
            remaining: length,
            sent: Arc::default(),
        }
    }

    /// Returns how many bytes were handed over, counted on while it is sent.
    pub(super) fn sent(&self) -> Arc<AtomicU64> {
        self.sent.clone()
    }

    /// Reads the next piece; an empty one at the end.
    fn next_chunk(&mut self) -> io::Result<Bytes> {
        let wanted = self.remaining.min(CHUNK);
        let mut chunk = vec![];
        let read = self.reader.by_ref().take(wanted).read_to_end(&mut chunk)? as u64;
        if read < wanted {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was sent",
            ));
        }
        self.remaining -= read;
        self.sent.fetch_add(read, Ordering::Relaxed);
        Ok(chunk.into())
    }
}

impl<R: Read + Unpin> Body for UploadBody<R> {
    type Data = Bytes;
    type Error = io::Error;

    /// Reading blocks, as it does everywhere here: it is a file of this host.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(self.next_chunk().map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn send(bytes: &[u8], length: u64) -> io::Result<Vec<u8>> {
        let body = UploadBody::new(bytes, length);
        assert_eq!(body.size_hint().exact(), Some(length));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(runtime.block_on(body.collect())?.to_bytes().to_vec())
    }

    #[test]
    fn upload_body_is_the_start_of_the_reader() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(400_000).collect();
        assert_eq!(send(&bytes, bytes.len() as u64).unwrap(), bytes);
        assert_eq!(send(&bytes, 5).unwrap(), bytes[..5]);
        assert_eq!(send(&[], 0).unwrap(), [0; 0]);
    }

    #[test]
    fn upload_body_reports_a_file_that_became_shorter() {
        let error = send(b"abc", 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
