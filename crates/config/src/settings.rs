//! One declaration per section.

/// Declares a section of the configuration.
macro_rules! settings {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $( $(#[$fmeta:meta])* $fvis:vis $field:ident : $type:ty $(= $default:literal)? ),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name { $( $(#[$fmeta])* $fvis $field: $type ),* }
    };
}

/// Declares a value that is one of a few words.
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $( $variant:ident = $word:literal ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name {
            $( #[doc = concat!("`", $word, "`")] $variant ),*
        }
    };
}

pub(crate) use {settings, words};
