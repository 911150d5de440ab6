//! What the kinds of the packet filter share: attributes, the hook that they add, and messages about table variants.

use std::sync::Arc;

use stead_engine::{
    model::state::Desired,
    model::{
        address::Address,
        listing::Listing,
        schema::{Attribute, Role, Shape},
    },
    provider::error::ProviderError,
};

use crate::{
    host::{HostError, Reader},
    netfilter::{column::TableVariant, names::ChainName, tables::Tables},
    values::path::provider_error,
};

/// The attribute `family`.
pub(crate) const FAMILY: Attribute = Attribute::new(
    "family",
    Shape::OneOf(&["ipv4", "ipv6", "both"]),
    Role::Input,
    "The address family. Default: ipv4.",
);

/// The attribute `backend`.
pub(crate) const BACKEND: Attribute = Attribute::new(
    "backend",
    Shape::OneOf(&["auto", "nft", "legacy", "both"]),
    Role::Input,
    "The back end. auto is the one with rules in the chain, else the default of the host. Default: auto.",
);

/// The attribute `persist`.
pub(crate) const PERSIST: Attribute = Attribute::new(
    "persist",
    Shape::Flag,
    Role::Input,
    "Whether it is also restored after a boot, by a hook that is added. Default: true.",
);

/// What comes with something that the kernel forgets at a reboot.
pub(crate) fn implied_hook(persist: Option<bool>) -> Vec<(Address, Desired)> {
    if persist == Some(false) {
        vec![]
    } else {
        crate::values::implied_hook::boot()
    }
}

/// What a spec says as `family` and `backend`.
pub(crate) type FamilyAndBackend = (Option<String>, Option<String>);

/// Returns the plainest words that mean just these columns for a chain; `None` if there are none.
pub(crate) async fn family_and_backend_of(
    host: &Reader,
    kind: &str,
    name: &str,
    columns: &[TableVariant],
) -> Result<Option<FamilyAndBackend>, ProviderError> {
    let tables = Tables::read(host)
        .await
        .map_err(provider_error(kind, name, "read the tables"))?;
    let chain = ChainName::parse(name).expect("the name was checked");
    let words = tables.family_and_backend(columns, chain);
    Ok(words.map(|(family, backend)| (family.map(str::to_owned), backend.map(str::to_owned))))
}

/// Why there is nothing to import where no back end is installed.
pub(crate) const NOT_INSTALLED: &str = "iptables is not installed";
/// Why a resource that stands in some columns cannot be written.
pub(crate) const ODD_VARIANTS: &str = "no `family` and `backend` describe exactly its tables";
/// Why the tables could not be seen.
pub(super) const ROOT_ONLY: &str = "only root can read the tables";

/// What an import finds of the tables.
pub(crate) enum ImportableTables {
    /// The tables, to be listed.
    Read(Arc<Tables>),
    /// There are none, or none that may be seen: a listing that says so.
    Unavailable(Listing),
}

/// Reads the tables for a listing.
pub(crate) async fn tables_for_import(
    host: &Reader,
    heading: &str,
) -> Result<ImportableTables, HostError> {
    if !TableVariant::ALL
        .into_iter()
        .any(|column| host.has_program(column.query().program()))
    {
        return Ok(ImportableTables::Unavailable(Listing::not_importable(
            NOT_INSTALLED,
        )));
    }
    let tables = Tables::read(host).await?;
    if tables.needs_root() {
        let mut listing = Listing::new(heading, []);
        listing
            .unreadable
            .insert("*".to_owned(), ROOT_ONLY.to_owned());
        return Ok(ImportableTables::Unavailable(listing));
    }
    Ok(ImportableTables::Read(tables))
}

/// The attributes that hold what stands in each column.
pub(crate) const VARIANT_ATTRIBUTES: [Attribute; 4] = [
    variant_attribute("ipv4-nft", "Its state in `iptables-nft`."),
    variant_attribute("ipv4-legacy", "Its state in `iptables-legacy`."),
    variant_attribute("ipv6-nft", "Its state in `ip6tables-nft`."),
    variant_attribute("ipv6-legacy", "Its state in `ip6tables-legacy`."),
];
pub(super) const fn variant_attribute(name: &'static str, doc: &'static str) -> Attribute {
    Attribute {
        name,
        shape: Shape::Text,
        role: Role::Derived,
        doc,
        check: None,
    }
}
