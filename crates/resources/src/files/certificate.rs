//! A certificate in a file: its validity and its addresses. X.509, RFC 5280.

use std::{collections::BTreeSet, net::IpAddr};

use jiff::Timestamp;
use x509_cert::{
    Certificate as Parsed,
    der::DecodePem,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// From when on nobody believes it any more.
    pub(crate) expires: Timestamp,
    /// The addresses for which it is good.
    pub(crate) addresses: BTreeSet<IpAddr>,
}

impl Certificate {
    /// Takes a certificate apart that is written as PEM; `None` if it is none.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let parsed = Parsed::from_pem(text).ok()?;
        let about = parsed.tbs_certificate();
        let until = about.validity().not_after.to_unix_duration();
        let (_, names) = about
            .get_extension::<SubjectAltName>()
            .ok()?
            .unwrap_or((false, SubjectAltName(vec![])));
        Some(Self {
            expires: Timestamp::from_second(i64::try_from(until.as_secs()).ok()?).ok()?,
            addresses: names.0.iter().filter_map(address).collect(),
        })
    }
}

fn address(name: &GeneralName) -> Option<IpAddr> {
    let GeneralName::IpAddress(bytes) = name else {
        return None;
    };
    let bytes = bytes.as_bytes();
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Made by `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes`, for these addresses, until 2026-12-25T22:50:34Z.
    pub(crate) const EXAMPLE: &str = include_str!("certificate_example.pem");

    #[test]
    fn certificate_parse_reads_expiry_and_addresses() {
        let found = Certificate::parse(EXAMPLE.as_bytes()).unwrap();
        let addresses: Vec<_> = found.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["127.0.0.1", "192.0.2.10", "2001:db8::1"]);
        assert_eq!(found.expires.to_string(), "2026-12-25T22:50:34Z");
    }

    #[test]
    fn certificate_parse_rejects_other_text() {
        for text in [
            "",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert_eq!(Certificate::parse(text.as_bytes()), None, "{text}");
        }
    }
}
