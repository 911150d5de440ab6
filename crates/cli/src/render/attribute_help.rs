//! The meaning of an attribute and the values it takes, in words.

use stead_engine::model::schema::{Attribute, Schema, Shape};

/// Says what values an attribute takes.
pub(crate) fn shape_text(shape: Shape) -> String {
    match shape {
        Shape::Text => "text".to_owned(),
        Shape::Flag => "#true or #false".to_owned(),
        Shape::Integer => "whole number".to_owned(),
        Shape::OneOf(words) => words.join(", "),
        Shape::Path => "path beside the spec".to_owned(),
        Shape::Secret => "the source of a secret: `(secret)\"file:/PATH\"`".to_owned(),
        Shape::Map => "keys with values, as children of a child".to_owned(),
        Shape::Entries => "any children, each with its texts or `#null`".to_owned(),
        Shape::List => "several texts, as a child".to_owned(),
    }
}

/// Says what an attribute means, and whether its name may be left out.
pub(crate) fn attribute_text(schema: &Schema, attribute: &Attribute) -> String {
    let main = if schema.main == Some(attribute.name) {
        " May follow the name directly."
    } else {
        ""
    };
    format!("{}{main}", attribute.doc)
}
