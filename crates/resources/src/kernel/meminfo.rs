//! The memory of a host: `proc_meminfo(5)`.

use std::path::Path;

use crate::host::{HostError, Reader};

/// Where the kernel tells it.
pub(crate) const MEMINFO: &str = "/proc/meminfo";
/// The longest that is read of it, in bytes.
const LIMIT: u64 = 64 << 10;

/// The memory of a host, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Without what the kernel took for itself at its start.
    pub(crate) total: u64,
    pub(crate) swap: u64,
}

impl Memory {
    /// Reads it; `None` where it is not told.
    pub(crate) fn read(host: &Reader) -> Result<Option<Self>, HostError> {
        let text = host.read_text(Path::new(MEMINFO), LIMIT)?;
        Ok(text.as_deref().and_then(Self::parse))
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            let (_, value) = lines.find(|(name, _)| *name == key)?;
            let kib: u64 = value.split_whitespace().next()?.parse().ok()?;
            Some(kib << 10)
        };
        Some(Self {
            total: value("MemTotal")?,
            swap: value("SwapTotal").unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_swap_are_read() {
        let text = "MemTotal:        4194304 kB\nMemFree:  1 kB\nSwapTotal:       1048576 kB\n";
        let expected = Memory {
            total: 4 << 30,
            swap: 1 << 30,
        };
        assert_eq!(Memory::parse(text), Some(expected));
        assert_eq!(Memory::parse(""), None);
    }
}
