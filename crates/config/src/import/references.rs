//! What clients write for values from elsewhere, in our words.

use gatepost_policy::Printable;

/// Names that editors fill in themselves.
const OF_EDITORS: [&str; 8] = [
    "workspaceFolder",
    "workspaceRoot",
    "workspaceFolderBasename",
    "cwd",
    "file",
    "fileDirname",
    "pathSeparator",
    "extensionPath",
];

/// Translates `${input:id}`, `${env:NAME}`, `${NAME}`, `${NAME:-default}` and `${userHome}`. What has no translation is
/// kept as literal text, and warned about.
pub(super) fn translate(text: &str, mut warn: impl FnMut(String)) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        result.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('}') else {
            result.push_str("$${");
            rest = &rest[start + 2..];
            continue;
        };
        let reference = &rest[start + 2..start + end];
        rest = &rest[start + end + 1..];
        let name = reference.strip_prefix("env:").unwrap_or(reference);
        if reference == "userHome" {
            result.push_str("${env:HOME}");
        } else if let Some(id) = reference.strip_prefix("input:").filter(|id| !id.is_empty()) {
            let variable = variable_for(id);
            warn(format!(
                "asked for the input `{}`; set the environment variable {variable}",
                Printable(id)
            ));
            result.push_str(&format!("${{env:{variable}}}"));
        } else if !OF_EDITORS.contains(&reference) && is_variable(name.split(":-").next().unwrap_or_default())
        {
            result.push_str(&format!("${{env:{name}}}"));
        } else {
            warn(format!(
                "`${{{}}}` means something in an editor only; write the value",
                Printable(reference)
            ));
            result.push_str(&format!("$${{{reference}}}"));
        }
    }
    result.push_str(rest);
    result
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `perplexity-key` becomes `PERPLEXITY_KEY`.
fn variable_for(id: &str) -> String {
    let upper = id.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    });
    let upper: String = upper.collect();
    if upper.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{upper}")
    } else {
        upper
    }
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[track_caller]
    fn check(text: &str, expected: &str, warnings: usize) {
        let mut warned = 0;
        assert_eq!(translate(text, |_| warned += 1), expected);
        assert_eq!(warned, warnings, "{text}");
    }

    #[test]
    fn references_of_clients() {
        check("plain $5", "plain $5", 0);
        check("Bearer ${env:T}", "Bearer ${env:T}", 0);
        check("${T}/${U:-u}", "${env:T}/${env:U:-u}", 0);
        check("${userHome}/x", "${env:HOME}/x", 0);
        check("${input:my-key}", "${env:MY_KEY}", 1);
        check("${workspaceFolder}/x", "$${workspaceFolder}/x", 1);
        check("${a b", "$${a b", 0);
    }
}
