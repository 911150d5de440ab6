//! Notifications of the kernel about its tables: `nf_tables`, group `NFNLGRP_NFTABLES` (`linux/netfilter/nfnetlink.h`, `nf_tables.h`).

use std::{
    io::ErrorKind,
    os::fd::{AsFd, BorrowedFd},
};

use netlink_packet_core::{NetlinkBuffer, NlasIterator};
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::errno::Errno;

use super::super::HostError;
use crate::host::watch::{process::Process, trigger::service_error};

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of the type of a message.
const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_NEWTABLE`, `NFT_MSG_DELTABLE`.
const TABLE: [u16; 2] = [0, 2];
/// `NFT_MSG_NEWCHAIN`, `NFT_MSG_DELCHAIN`.
const CHAIN: [u16; 2] = [3, 5];
/// `NFT_MSG_NEWRULE`, `NFT_MSG_DELRULE`.
const RULE: [u16; 2] = [6, 8];
/// `NFT_MSG_NEWGEN`: the end of a transaction.
const GENERATION: u16 = 15;
/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE` and `NFTA_RULE_TABLE` alike.
const TABLE_ATTRIBUTE: u16 = 1;
/// `NFTA_CHAIN_NAME`.
const CHAIN_NAME_ATTRIBUTE: u16 = 3;
/// `NFTA_RULE_CHAIN`.
const RULE_CHAIN_ATTRIBUTE: u16 = 2;
/// `NFTA_GEN_PROC_PID`.
const PROCESS_ATTRIBUTE: u16 = 2;
/// `NFTA_GEN_PROC_NAME`.
const PROGRAM_ATTRIBUTE: u16 = 3;
/// The header between that of netlink and the attributes, `nfgenmsg`, in bytes.
const HEADER: usize = 4;
/// How much the kernel may have waiting for us, in bytes.
const QUEUE: usize = 1 << 20;
/// The largest message, in bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// What has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TableEvent {
    /// A chain or its rules; all of a table without one.
    Changed {
        /// The table.
        table: String,
        /// The chain.
        chain: Option<String>,
    },
    /// The kernel had more to tell than we could hear.
    Overflow,
}

/// Whoever hears of changes.
#[derive(Debug)]
pub(super) struct NetfilterEvents {
    socket: Socket,
    /// Of a transaction whose end is still to come.
    pending: Vec<TableEvent>,
    buffer: Vec<u8>,
}

impl AsFd for NetfilterEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl NetfilterEvents {
    pub(super) fn listen() -> Result<Self, HostError> {
        let listen = || {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.add_membership(GROUP)?;
            socket.set_rx_buf_sz(QUEUE)?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        Ok(Self {
            socket: listen().map_err(service_error("the kernel's events of netfilter"))?,
            pending: vec![],
            buffer: Vec::with_capacity(MAX_MESSAGE),
        })
    }

    /// Returns all that was told since, each with who did it.
    pub(super) fn read(&mut self) -> Result<Vec<(TableEvent, Option<Process>)>, HostError> {
        let mut told = vec![];
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(told),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    told.push((TableEvent::Overflow, None));
                }
                Err(error) => return Err(service_error("the kernel's events of netfilter")(error)),
            }
            let mut rest = self.buffer.as_slice();
            while let Ok(message) = NetlinkBuffer::new_checked(&rest) {
                let length = message.length() as usize;
                let kind = message.message_type();
                if kind >> 8 == SUBSYSTEM {
                    let attributes = attributes(message.payload());
                    if kind & 0xff == GENERATION {
                        let by = process_of(&attributes);
                        let done = self.pending.drain(..);
                        told.extend(done.map(|moved| (moved, by.clone())));
                    } else {
                        self.pending.extend(table_event(kind & 0xff, &attributes));
                    }
                }
                // Messages begin at multiples of four.
                let step = length.next_multiple_of(4).max(4);
                rest = rest.get(step..).unwrap_or_default();
            }
        }
    }
}

/// An attribute: its type and its bytes.
type Attribute = (u16, Vec<u8>);

fn attributes(payload: &[u8]) -> Vec<Attribute> {
    let attributes = NlasIterator::new(payload.get(HEADER..).unwrap_or_default());
    let attributes = attributes.map_while(Result::ok);
    attributes
        .map(|attribute| (attribute.kind(), attribute.value().to_vec()))
        .collect()
}

fn find(attributes: &[Attribute], kind: u16) -> Option<&[u8]> {
    attributes
        .iter()
        .find_map(|(its_kind, value)| (*its_kind == kind).then_some(value.as_slice()))
}

fn text(attributes: &[Attribute], kind: u16) -> Option<String> {
    let bytes = find(attributes, kind)?;
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = &bytes[..end.unwrap_or(bytes.len())];
    Some(String::from_utf8_lossy(bytes).into_owned())
}

fn table_event(kind: u16, attributes: &[Attribute]) -> Option<TableEvent> {
    let chain = match kind {
        _ if TABLE.contains(&kind) => None,
        _ if CHAIN.contains(&kind) => Some(text(attributes, CHAIN_NAME_ATTRIBUTE)?),
        _ if RULE.contains(&kind) => Some(text(attributes, RULE_CHAIN_ATTRIBUTE)?),
        _ => return None,
    };
    let table = text(attributes, TABLE_ATTRIBUTE)?;
    Some(TableEvent::Changed { table, chain })
}

fn process_of(attributes: &[Attribute]) -> Option<Process> {
    let pid = find(attributes, PROCESS_ATTRIBUTE)?.try_into().ok()?;
    let name = text(attributes, PROGRAM_ATTRIBUTE)?;
    Process::find_named(name, u32::from_be_bytes(pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_event_distinguishes_chain_rule_and_table() {
        let attribute = |kind, text: &str| (kind, format!("{text}\0").into_bytes());
        let chain = [
            attribute(TABLE_ATTRIBUTE, "filter"),
            attribute(CHAIN_NAME_ATTRIBUTE, "FORWARD"),
        ];
        let forward = TableEvent::Changed {
            table: "filter".to_owned(),
            chain: Some("FORWARD".to_owned()),
        };
        assert_eq!(table_event(CHAIN[0], &chain), Some(forward.clone()));
        let rule = [
            attribute(TABLE_ATTRIBUTE, "filter"),
            attribute(RULE_CHAIN_ATTRIBUTE, "FORWARD"),
        ];
        assert_eq!(table_event(RULE[1], &rule), Some(forward));
        let table = table_event(TABLE[1], &rule[..1]);
        assert!(
            matches!(table, Some(TableEvent::Changed { chain: None, .. })),
            "{table:?}"
        );
        assert_eq!(table_event(9, &chain), None);
    }

    #[test]
    fn attributes_are_parsed_after_the_netfilter_header() {
        let mut payload = vec![2, 0, 0, 7];
        // Length 11, type 3, "abcdef" and its end; filled up to a multiple of four.
        payload.extend([11, 0, 3, 0]);
        payload.extend(b"abcdef\0\0");
        payload.extend([8, 0, 2, 0, 0, 0, 1, 2]);
        let attributes = attributes(&payload);
        assert_eq!(
            text(&attributes, PROGRAM_ATTRIBUTE).as_deref(),
            Some("abcdef")
        );
        assert_eq!(
            find(&attributes, PROCESS_ATTRIBUTE),
            Some(&[0, 0, 1, 2][..])
        );
    }
}
