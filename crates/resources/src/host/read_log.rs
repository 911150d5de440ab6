//! What a reader has read, to explain where a state comes from.

use std::sync::Mutex;

/// The most of a text that is kept, in bytes: whoever wants to know reads lines.
const MAX_TEXT: usize = 4 << 20;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    /// The file, the program with its arguments, or the socket with the question.
    pub source: String,
    /// What was there, if it was a text.
    pub text: Option<String>,
}

/// What was looked at, in the order in which that began; nothing while it is off.
#[derive(Debug, Default)]
pub(super) struct ReadLog(Option<Mutex<Vec<ReadRecord>>>);

impl ReadLog {
    pub(super) fn enabled() -> Self {
        Self(Some(Mutex::default()))
    }

    /// Notes that something was looked at, each place once.
    pub(super) fn record(&self, source: impl FnOnce() -> String, bytes: Option<&[u8]>) {
        let Some(trace) = &self.0 else { return };
        let source = source();
        let text = bytes
            .filter(|bytes| bytes.len() <= MAX_TEXT)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .map(str::to_owned);
        let mut records = trace.lock().expect("no holder panics");
        match records.iter_mut().find(|record| record.source == source) {
            Some(known) if text.is_some() => known.text = text,
            Some(_) => {}
            None => records.push(ReadRecord { source, text }),
        }
    }

    pub(super) fn records(&self) -> Vec<ReadRecord> {
        let looked = self.0.as_ref();
        looked.map_or_else(Vec::new, |looked| {
            looked.lock().expect("no holder panics").clone()
        })
    }
}
