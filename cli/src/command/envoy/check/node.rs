//! YAML (and so JSON) with the place of every value.

use saphyr::{LoadableYamlNode as _, MarkedYaml, Scalar, YamlData};

/// A value, the place where it stands, and how it is come by.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    yaml: &'a MarkedYaml<'a>,
}

/// The documents of a file.
pub(super) fn parse(text: &str) -> Result<Vec<MarkedYaml<'_>>, String> {
    MarkedYaml::load_from_str(text).map_err(|error| format!("it is no YAML: {error}"))
}

impl<'a> Node<'a> {
    pub(super) const fn root(yaml: &'a MarkedYaml<'a>) -> Self {
        Self { yaml }
    }

    /// Line and column, from 1.
    pub(super) fn position(self) -> (usize, usize) {
        (self.yaml.span.start.line(), self.yaml.span.start.col() + 1)
    }

    /// The value of a field.
    pub(super) fn get(self, key: &str) -> Option<Self> {
        self.fields().find(|(name, _)| *name == key).map(|(_, node)| node)
    }

    /// The value at the end of a way through fields.
    pub(super) fn at(self, way: &[&str]) -> Option<Self> {
        way.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Fields by name.
    pub(super) fn fields(self) -> impl Iterator<Item = (&'a str, Self)> {
        let mapping = match &self.yaml.data {
            YamlData::Mapping(mapping) => Some(mapping),
            _ => None,
        };
        mapping
            .into_iter()
            .flatten()
            .filter_map(|(key, yaml)| match &key.data {
                YamlData::Value(Scalar::String(name)) => Some((name.as_ref(), Self { yaml })),
                _ => None,
            })
    }

    /// Items of a list; none of anything else.
    pub(super) fn items(self) -> impl Iterator<Item = Self> {
        let sequence = match &self.yaml.data {
            YamlData::Sequence(sequence) => Some(sequence),
            _ => None,
        };
        sequence.into_iter().flatten().map(|yaml| Self { yaml })
    }

    /// Items of the list that a field holds.
    pub(super) fn list(self, key: &str) -> impl Iterator<Item = Self> {
        self.get(key).into_iter().flat_map(Self::items)
    }

    pub(super) fn text(self) -> Option<&'a str> {
        match &self.yaml.data {
            YamlData::Value(Scalar::String(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is(self, text: &str) -> bool {
        self.text() == Some(text)
    }

    pub(super) fn is_true(self) -> bool {
        matches!(&self.yaml.data, YamlData::Value(Scalar::Boolean(true)))
    }

    /// Whether a field says `true`.
    pub(super) fn says(self, key: &str) -> bool {
        self.get(key).is_some_and(Self::is_true)
    }

    /// A whole number.
    pub(super) fn number(self) -> Option<i64> {
        match &self.yaml.data {
            YamlData::Value(Scalar::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// A duration as protobuf's JSON has it: `0.25s`.
    pub(super) fn seconds(self) -> Option<f64> {
        self.text()?.strip_suffix('s')?.parse().ok()
    }

    /// The last part of `@type`: `ExtAuthz`.
    pub(super) fn kind(self) -> Option<&'a str> {
        self.get("@type")?.text()?.rsplit('.').next()
    }

    /// Everything below this one, itself first.
    pub(super) fn walk(self) -> Vec<Self> {
        let mut found = Vec::new();
        let mut ahead = vec![self];
        while let Some(node) = ahead.pop() {
            found.push(node);
            let below: Vec<Self> = node.items().chain(node.fields().map(|(_, node)| node)).collect();
            ahead.extend(below.into_iter().rev());
        }
        found
    }

    /// Every message of this type below this one.
    pub(super) fn typed(self, kind: &str) -> Vec<Self> {
        let mut found = self.walk();
        found.retain(|node| node.kind() == Some(kind));
        found
    }
}
