//! Parsers of words that completions and help know: states, topics, columns.

use std::ffi::OsStr;

use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::{Arg, Command, Error};

use crate::report::column::{Column, Columns};
use crate::sock::explain::Topic;
use crate::sock::state::{State, StateSet};

/// A parser whose errors say what to give, and the words that it takes.
#[derive(Clone, Copy)]
pub(crate) struct Words<T> {
    parse: fn(&str) -> Result<T, String>,
    words: fn() -> Vec<&'static str>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Words<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        self.parse.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.words)().into_iter().map(PossibleValue::new)))
    }
}

/// TCP states, or `all`.
pub(crate) fn states() -> Words<StateSet> {
    let words = || State::ALL.map(State::flag).into_iter().chain(["all"]).collect();
    Words { parse: |text| text.parse(), words }
}

/// Words that `--explain` explains.
pub(crate) fn topics() -> Words<Topic> {
    Words { parse: |text| text.parse(), words: || Topic::all().map(Topic::name).collect() }
}

/// A column that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    column: Column,
    /// True if it came with a plus.
    is_added: bool,
}

/// The columns that were asked for. If the first came with a plus, all are added.
pub(crate) fn columns(picked: &[Picked]) -> Columns {
    let columns = picked.iter().map(|picked| picked.column).collect();
    match picked.first() {
        None => Columns::Default,
        Some(Picked { is_added: true, .. }) => Columns::Also(columns),
        Some(_) => Columns::Only(columns),
    }
}

/// The column with a plus that comes after one without: nobody can tell which is meant.
pub(crate) fn late_plus(picked: &[Picked]) -> Option<Column> {
    let is_added = picked.first()?.is_added;
    picked.iter().find(|picked| picked.is_added && !is_added).map(|picked| picked.column)
}

/// Parses a column's name, with or without a plus.
#[derive(Clone, Copy)]
pub(crate) struct ColumnParser;

impl TypedValueParser for ColumnParser {
    type Value = Picked;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Picked, Error> {
        let bare = value.to_str().and_then(|text| text.strip_prefix('+'));
        let name = bare.map_or(value, OsStr::new);
        let column = EnumValueParser::<Column>::new().parse_ref(command, arg, name)?;
        Ok(Picked { column, is_added: bare.is_some() })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = EnumValueParser::<Column>::new().possible_values()?.collect::<Vec<_>>();
        Some(Box::new(values.into_iter()))
    }
}
