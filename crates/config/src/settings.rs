//! One declaration per section: the struct, its reader and its JSON Schema cannot drift apart, because they are one.

/// Declares a section of the configuration.
///
/// `name: Type = literal` has that default, as it would be written in YAML. Without one, the type decides what absence
/// means (see [`Setting::absent`](crate::reader::Setting::absent)). The doc comments become descriptions in the schema.
/// `ignoring LIST` names keys that are only warned about. `exactly_one_of LIST` and `at_least_one_of LIST` name optional
/// keys that stand for each other; of `exactly_one_of` a field may still be `None`, where its value was wrong.
macro_rules! settings {
    ($(#[doc = $doc:literal])* $vis:vis struct $name:ident
        $(ignoring $ignored:expr;)? $(exactly_one_of $one:expr;)? $(at_least_one_of $some:expr;)?
    {
        $( $(#[doc = $fdoc:literal])* $fvis:vis $field:ident : $type:ty $(= $default:literal)? ),* $(,)?
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        $vis struct $name { $( $(#[doc = $fdoc])* $fvis $field: $type ),* }

        impl $crate::reader::Setting for $name {
            fn read(
                node: &$crate::tree::Node,
                path: &str,
                findings: &mut $crate::reader::Findings,
            ) -> Option<Self> {
                const IGNORED: &[&str] = $crate::settings::first_of!($($ignored)?);
                let section = $crate::reader::Section::open(node, path, findings)?;
                $( let $field = section.take::<$type>(
                    $crate::settings::key(stringify!($field)),
                    $crate::settings::literal!($($default)?),
                    findings,
                ); )*
                section.close(
                    &[$($crate::settings::key(stringify!($field))),*],
                    IGNORED,
                    findings,
                );
                section.has_exactly_one_of($crate::settings::first_of!($($one)?), findings)?;
                section.has_some_of($crate::settings::first_of!($($some)?), findings)?;
                Some(Self { $($field: $field?),* })
            }

            fn absent() -> Option<Self> {
                let nothing = $crate::tree::Node {
                    value: $crate::tree::Value::Map(Vec::new()),
                    place: Default::default(),
                };
                Self::read(&nothing, "", &mut Default::default())
            }

            fn schema() -> serde_json::Value {
                const IGNORED: &[&str] = $crate::settings::first_of!($($ignored)?);
                let mut properties = serde_json::Map::new();
                // By reference, since a section without keys never changes it.
                let required: &mut Vec<&str> = &mut Vec::new();
                $(
                    let mut property = <$type as $crate::reader::Setting>::schema();
                    $crate::settings::describe(&mut property, &[$($fdoc),*]);
                    $( property["default"] = serde_json::json!($default); )?
                    properties.insert($crate::settings::key(stringify!($field)).to_owned(), property);
                    let default: Option<$crate::tree::Value> = $crate::settings::literal!($($default)?);
                    if default.is_none() && <$type as $crate::reader::Setting>::absent().is_none() {
                        required.push($crate::settings::key(stringify!($field)));
                    }
                )*
                for ignored in IGNORED {
                    properties.insert((*ignored).to_owned(), serde_json::json!({
                        "description": "A setting of clients, ignored here.",
                        "deprecated": true,
                    }));
                }
                let mut schema = serde_json::json!({
                    "type": ["object", "null"],
                    "properties": properties,
                    "additionalProperties": false,
                });
                if !required.is_empty() {
                    schema["type"] = "object".into();
                    schema["required"] = std::mem::take(required).into();
                }
                $crate::settings::require(&mut schema, "oneOf", $crate::settings::first_of!($($one)?));
                $crate::settings::require(&mut schema, "anyOf", $crate::settings::first_of!($($some)?));
                $crate::settings::describe(&mut schema, &[$($doc),*]);
                schema
            }
        }
    };
}

/// Declares a value that is one of a few words.
macro_rules! words {
    ($(#[doc = $doc:literal])* $vis:vis enum $name:ident {
        $( $variant:ident = $word:literal $(| $alias:literal)* ),* $(,)?
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name {
            $( #[doc = concat!("`", $word, "`")] $variant ),*
        }

        impl $name {
            /// The word for it, as in the configuration.
            $vis fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word ),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::reader::Setting for $name {
            fn read(
                node: &$crate::tree::Node,
                path: &str,
                findings: &mut $crate::reader::Findings,
            ) -> Option<Self> {
                $crate::values::one_of(
                    node,
                    path,
                    findings,
                    &[$(($word, Self::$variant) $(, ($alias, Self::$variant))*),*],
                )
            }

            fn schema() -> serde_json::Value {
                $crate::reader::or_expansion(&serde_json::json!({ "enum": [$($word $(, $alias)*),*] }))
            }
        }
    };
}

macro_rules! literal {
    () => {
        None
    };
    ($default:literal) => {
        Some($crate::tree::Value::from($default))
    };
}

macro_rules! first_of {
    () => {
        &[]
    };
    ($list:expr) => {
        &$list
    };
}

pub(crate) use {first_of, literal, settings, words};

/// A field's name as a key: without the mark that lets it be a Rust keyword.
pub(crate) fn key(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// Says in a schema that of `keys` there must be as many as `keyword` means. No keys: nothing to say.
pub(crate) fn require(schema: &mut serde_json::Value, keyword: &str, keys: &[&str]) {
    if !keys.is_empty() {
        schema["type"] = "object".into();
        schema[keyword] = keys
            .iter()
            .map(|key| serde_json::json!({ "required": [key] }))
            .collect();
    }
}

/// Puts a doc comment into a schema.
pub(crate) fn describe(schema: &mut serde_json::Value, lines: &[&str]) {
    let prose = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    if !prose.is_empty() {
        schema["description"] = prose.into();
    }
}
