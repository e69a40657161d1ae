//! `views`: selections with an endpoint of their own.

use gatepost_policy::{Access, Pattern, Printable, Selection, ViewRules};

use crate::{
    Role, Text, View,
    check::name_is_usable,
    names::{Name, Placed, Some1},
    problem::Place,
    reader::{Findings, join},
    sections::roles,
    settings::settings,
    values::Named,
};

settings! {
    /// A named selection of what servers offer. Its patterns see names with their prefix, `server__tool`, before
    /// renaming; for resources `server__uri`.
    pub(crate) struct ViewForm {
        /// Patterns of names to show. Default: everything.
        pub(crate) include: Option<Vec<Pattern>>,
        /// Patterns of names to leave out, whatever `include` says. Default: none.
        pub(crate) exclude: Vec<Pattern>,
        /// New names of tools and prompts, by their names with prefix. Default: none.
        pub(crate) rename: Named<Text>,
        /// The gravest that tools of this view may do: `read` makes it read-only, `write` allows changes, `destructive`
        /// everything.
        pub(crate) access: Access = "destructive",
        /// Who finds it: whoever has one of these roles. To others it does not exist. Default: everybody.
        pub(crate) roles: Option<Some1<Placed<Name>>>,
        /// What the view is for; clients see it. Default: none.
        pub(crate) description: Option<String>,
    }
}

/// Builds the runtime form.
pub(crate) fn view(
    name: String,
    form: ViewForm,
    place: &Place,
    servers: &[String],
    roles: &[Role],
    findings: &mut Findings,
) -> View {
    let path = join("views", &name);
    name_is_usable(&name, &path, place, findings);
    if servers.contains(&name) {
        let message = "there is a server of this name, and both would be `/mcp/".to_owned() + &name + "`";
        findings.problem(place, &path, message, "rename one of the two");
    }
    for pattern in form.include.iter().flatten().chain(&form.exclude) {
        names_a_server(pattern, place, &path, servers, findings);
    }
    let rename = renames(form.rename, &join(&path, "rename"), servers, findings);
    let selection = Selection {
        include: form.include,
        exclude: form.exclude,
    };
    View {
        name,
        rules: ViewRules {
            selection,
            access: form.access,
            roles: form.roles.map(|Some1(given)| {
                roles::existing(given, &join(&path, "roles"), roles, findings).unwrap_or_default()
            }),
        },
        rename,
        description: form.description,
    }
}

fn renames(
    rename: Named<Text>,
    path: &str,
    servers: &[String],
    findings: &mut Findings,
) -> Vec<(String, String)> {
    let mut renames: Vec<(String, String)> = Vec::with_capacity(rename.0.len());
    for (from, to, place) in rename.0 {
        let path = join(path, &from);
        let server = from.split_once("__").map(|(server, _)| server);
        let shown = to.to_string();
        let shown = Printable(&shown);
        let to = to.expose();
        if !server.is_some_and(|server| servers.iter().any(|name| name == server)) {
            let remedy = "write the name with its prefix, `server__tool`; patterns cannot be renamed";
            findings.problem(&place, &path, "names no configured server", remedy);
        } else if to.is_empty()
            || to.len() > 128
            || !to.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        {
            let remedy = "use 1 to 128 letters, digits, `.`, `-` and `_`";
            findings.problem(&place, &path, format!("`{shown}` is no usable name"), remedy);
        } else if let Some((other, _)) = renames.iter().find(|(_, taken)| taken == to) {
            let message = format!("`{shown}` is already the new name of `{}`", Printable(other));
            findings.problem(&place, &path, message, "choose another name");
        } else if to != from
            && to
                .split_once("__")
                .is_some_and(|(server, _)| servers.iter().any(|name| name == server))
        {
            let message = format!("`{shown}` could be a tool of another server");
            findings.problem(&place, &path, message, "choose a name without a server's prefix");
        } else {
            renames.push((from, to.to_owned()));
        }
    }
    renames
}

/// Warns of a pattern that begins with the whole prefix of a server that does not exist: it matches nothing.
pub(crate) fn names_a_server(
    pattern: &Pattern,
    place: &Place,
    path: &str,
    servers: &[String],
    findings: &mut Findings,
) {
    if let Some((server, _)) = pattern.as_str().split_once("__")
        && !server.contains(['*', '?'])
        && !servers.iter().any(|name| name == server)
    {
        let message = format!("the pattern `{pattern}` names no server that is configured");
        findings.warning(place, path, message, "check the part before `__`");
    }
}
