use std::sync::Arc;

use super::*;
use crate::{Classified, Facts, Kind, Method, Principal, RoleSettings, RuleSettings, Rules, UnixMillis};
use proptest::prelude::*;

/// 2026-11-21T15:04:05.678Z, a Saturday.
const NOW: UnixMillis = UnixMillis(1_795_273_445_678);

fn ann() -> Caller {
    let principal = Principal::new("https://id.example.com", "ann").with_tenant("acme");
    let mut facts = Facts::of(principal, Method::Jwt);
    facts.groups = vec!["analysts".into(), "people".into()];
    facts.scopes = Some(vec!["orders:read".into()]);
    facts.email = Some("ann@example.com".into());
    facts.roles = vec!["analyst".into()];
    let rules = Rules::compile(RuleSettings {
        open: false,
        access: crate::Access::Destructive,
        issuers: vec!["https://id.example.com".into()],
        roles: vec![RoleSettings::new("analyst")],
        bindings: Vec::new(),
    });
    Arc::new(rules.unwrap()).caller(facts)
}

const ACTION: Action<'_> = Action {
    kind: Kind::Call,
    server: "orders",
    name: "list",
    effect: Classified::UNKNOWN,
};

fn told(truth: Truth) -> String {
    match truth {
        Truth::True => "true".to_owned(),
        Truth::False => "false".to_owned(),
        Truth::Unknown => "unknown".to_owned(),
        Truth::Failed(failure) => failure.to_string(),
    }
}

fn ask(condition: &str, circumstances: Circumstances<'_>) -> String {
    let condition = Condition::new(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
    told(condition.holds(&ann(), &ACTION, circumstances))
}

#[track_caller]
fn check(arguments: &str, cases: &[(&str, &str)]) {
    let circumstances = Circumstances::Calling {
        arguments: arguments.as_bytes(),
        now: NOW,
    };
    let wrong: Vec<String> = cases
        .iter()
        .map(|&(condition, expected)| (condition, expected, ask(condition, circumstances)))
        .filter(|(_, expected, found)| expected != found)
        .map(|(condition, expected, found)| {
            format!("{condition}\n    expected {expected}\n    found    {found}")
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[track_caller]
fn check_true(conditions: &[&str]) {
    let cases: Vec<_> = conditions.iter().map(|condition| (*condition, "true")).collect();
    check("{}", &cases);
}

#[track_caller]
fn check_refused(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .map(|&(condition, expected)| {
            let found =
                Condition::new(condition).map_or_else(|error| error.to_string(), |_| "accepted".to_owned());
            (condition, expected, found)
        })
        .filter(|(_, expected, found)| expected != found)
        .map(|(condition, expected, found)| {
            format!("{condition}\n    expected {expected}\n    found    {found}")
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn literals() {
    check_true(&[
        "0x1F == 31",
        "0xffu == 255u",
        "-9223372036854775808 < 0",
        "-0x10 == -16",
        "18446744073709551615u > 0u",
        ".5 == 0.5",
        "7e0 == 7.0",
        ".700e1 == 7.0",
        "1e-3 == 0.001",
        r#""" == ''"#,
        r#"'""' == "\"\"""#,
        r#"'''x''x''' == "x''x""#,
        "'''a\nb''' == 'a\\nb'",
        r#""\"" == '"'"#,
        r#"size("\\") == 1"#,
        r#"size(r"\\") == 2"#,
        r#"b"abc" == bytes('abc')"#,
        r#"b"ÿ" == b"\303\277""#,
        r#""\303\277" == "\u00c3\u00bf""#,
        r#""\377" == "ÿ""#,
        r#"size(b"\377") == 1"#,
        r#""\xFF" == "ÿ""#,
        r#"size(b"\xff") == 1"#,
        r#""\a\b\f\n\r\t\v" == "\x07\x08\x0c\x0a\x0d\x09\x0b""#,
        r#""\U0001F600" == "😀""#,
        r#"R'\d' == '\\d'"#,
        r#"br'\x' == b'\\x'"#,
        "true // a comment\n && true",
        "[1, 2,] == [1, 2]",
        "{'a': 1,} == {'a': 1}",
        "null == null",
        "size([]) == 0 && size({}) == 0",
    ]);
    check_refused(&[
        ("'a", "at character 1: the string has no end"),
        (
            "'a\nb' == ''",
            "at character 1: the string has no end on its line",
        ),
        (
            r"'\s' == ''",
            r"at character 2: this is no escape; write a backslash as `\\`",
        ),
        (
            r"'\uD83D\uDE03' == ''",
            "at character 2: this is no Unicode character",
        ),
        (
            r"'\UD83DDE03' == ''",
            "at character 2: this is no Unicode character",
        ),
        (
            r"b'\u00ff' == b''",
            r"at character 3: this is no escape; write a backslash as `\\`",
        ),
        (
            r"'\400' == ''",
            r"at character 2: this is no escape; write a backslash as `\\`",
        ),
        (
            "9223372036854775808 > 0",
            "at character 1: the number is no signed integer of 64 bits; write an unsigned one with `u`",
        ),
        (
            "18446744073709551616u > 0u",
            "at character 1: the number is none of 64 bits",
        ),
        (
            "-9223372036854775809 < 0",
            "at character 2: the number is no signed integer of 64 bits; write an unsigned one with `u`",
        ),
        ("1e999 > 0.0", "at character 1: the number is too large"),
        ("0x == 0", "at character 1: the number is none of 64 bits"),
        ("1x == 0", "at character 1: a number ends in letters"),
        (
            "args.n = 1",
            "at character 8: `=` means nothing here; compare with `==`",
        ),
        ("args.n == #", "at character 11: `#` means nothing here"),
    ]);
}

#[test]
fn precedence_and_association() {
    check_true(&[
        "1 + 2 * 3 == 7",
        "(1 + 2) * 3 == 9",
        "10 - 3 - 2 == 5",
        "20 / 2 / 5 == 2",
        "-2 * -3 == 6",
        "!false && true",
        "!!true",
        "true || false && false",
        "!(1 == 2) == true",
        "1 < 2 == true",
        "true ? true : false ? false : false",
        "(false ? 1 : true ? 2 : 3) == 2",
        "1 + 1 in [2]",
        "- (3) == -3",
        "--3 == 3",
        "{'a': [1, {'b': 2}]}.a[1].b == 2",
        "'abc'.size() + 1 == 4",
        "-1 + 2 == 1 && 3 -1 == 2",
    ]);
}

#[test]
fn equality_is_heterogeneous_and_numbers_compare_by_value() {
    check_true(&[
        "1 == 1u && 1 == 1.0 && 1u == 1.0",
        "1 != 1.5 && 'a' != 1 && null != false && [] != {}",
        "!('1' == 1)",
        "9007199254740993 != 9007199254740992.0",
        "[1, 2] == [1.0, 2u] && [1, 2] != [2, 1] && [1] != [1, 1]",
        "{'a': 1, 'b': 2} == {'b': 2, 'a': 1} && {'a': 1} != {'a': 2} && {'a': 1} != {'b': 1}",
        "{1: 'x'} == {1u: 'x'}",
        "0.0 / 0.0 != 0.0 / 0.0",
        "!(0.0 / 0.0 < 1.0) && !(0.0 / 0.0 >= 1.0)",
        "1 < 1.5 && 2u > 1 && -1 < 0u && 1.5 <= 2",
        "'a' < 'b' && 'Z' < 'a' && '' < 'a' && 'z' < 'é'",
        "false < true",
        "b'a' < b'b'",
        "timestamp('2026-01-01T00:00:00Z') < now",
        "duration('1m') > duration('59s')",
    ]);
    check(
        "{}",
        &[
            ("1 < 'a'", "at character 3: `<` does not go with int and string"),
            ("[1] < [2]", "at character 5: `<` does not go with list and list"),
            (
                "null <= null",
                "at character 6: `<=` does not go with null and null",
            ),
        ],
    );
}

#[test]
fn arithmetic_overflows_are_errors() {
    check_true(&[
        "7 / 2 == 3 && -7 / 2 == -3 && 7 % 3 == 1 && -7 % 3 == -1",
        "7u / 2u == 3u && 1.0 / 4.0 == 0.25",
        "1.0 / 0.0 > 1e308",
        "'a' + 'b' == 'ab' && b'a' + b'b' == b'ab' && [1] + [2] == [1, 2]",
        "now + duration('1h') > now && now - duration('1h') < now",
        "duration('1h') + duration('30m') == duration('90m')",
        "timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')",
    ]);
    check(
        "{}",
        &[
            (
                "9223372036854775807 + 1 > 0",
                "at character 21: the result is too large",
            ),
            (
                "-9223372036854775808 - 1 < 0",
                "at character 22: the result is too large",
            ),
            (
                "9223372036854775807 * 2 > 0",
                "at character 21: the result is too large",
            ),
            (
                "-(-9223372036854775808) > 0",
                "at character 1: the result is too large",
            ),
            (
                "-9223372036854775808 / -1 > 0",
                "at character 22: the result is too large",
            ),
            ("0u - 1u > 0u", "at character 4: the result is too large"),
            ("1 / 0 > 0", "at character 3: this divides by zero"),
            ("1u % 0u > 0u", "at character 4: this divides by zero"),
            ("1 + 1u == 2", "at character 3: `+` does not go with int and uint"),
            (
                "1 + 1.0 == 2.0",
                "at character 3: `+` does not go with int and double",
            ),
            (
                "5.0 % 2.0 == 1.0",
                "at character 5: `%` does not go with double and double",
            ),
            (
                "'a' + 1 == 'a1'",
                "at character 5: `+` does not go with string and int",
            ),
            ("-5u == 0", "at character 1: `-` does not go with uint"),
            (
                "timestamp('9999-12-31T23:59:59Z') + duration('1s') > now",
                "at character 35: the result is too large",
            ),
        ],
    );
}

#[test]
fn logic_absorbs_errors_whatever_the_order() {
    check(
        "{}",
        &[
            ("1 / 0 > 0 || true", "true"),
            ("true || 1 / 0 > 0", "true"),
            ("1 / 0 > 0 && false", "false"),
            ("false && 1 / 0 > 0", "false"),
            ("1 / 0 > 0 || false", "at character 3: this divides by zero"),
            ("true && 1 / 0 > 0", "at character 11: this divides by zero"),
            ("args.x || true", "true"),
            (
                "'a' == 'a' && tool.name",
                "at character 20: this is neither true nor false but string",
            ),
            ("tool.name || true", "true"),
            ("!tool.name", "at character 1: `!` does not go with string"),
            ("true ? true : 1 / 0 > 0", "true"),
            (
                "tool.name ? true : true",
                "at character 11: `?` does not go with string",
            ),
            ("args.x ? true : true", "at character 6: there is no `x`"),
            ("[1, 0].exists(d, 2 / d == 2)", "true"),
            ("[0, 1].exists(d, 2 / d == 2)", "true"),
            (
                "[0, 1].exists(d, 2 / d == 3)",
                "at character 20: this divides by zero",
            ),
            ("[0, 1].all(d, 2 / d == 3)", "false"),
            (
                "[0, 1].all(d, 2 / d == 2)",
                "at character 17: this divides by zero",
            ),
            (
                "[0, 1].exists_one(d, 2 / d == 2)",
                "at character 24: this divides by zero",
            ),
        ],
    );
}

#[test]
fn macros() {
    check_true(&[
        "[1, 2, 3].all(x, x > 0) && ![1, 2, 3].all(x, x > 1)",
        "[].all(x, false) && ![].exists(x, true) && ![].exists_one(x, true)",
        "[1, 2, 3].exists(x, x == 2) && ![1, 2, 3].exists(x, x == 4)",
        "[1, 2, 3].exists_one(x, x == 2) && ![1, 1].exists_one(x, x == 1)",
        "[1, 2, 3].filter(x, x > 1) == [2, 3]",
        "[1, 2, 3].map(x, x * 2) == [2, 4, 6]",
        "[1, 2, 3].map(x, x > 1, x * 2) == [4, 6]",
        "{'a': 1, 'b': 2}.all(k, k in ['a', 'b'])",
        "{'a': 1, 'b': 2}.map(k, k) == ['a', 'b']",
        "[[1, 2], [3]].all(l, l.exists(x, x < 4))",
        "[1, 2].map(x, [10, 20].map(y, x * y)) == [[10, 20], [20, 40]]",
        "[1].exists(x, [2].exists(x, x == 2) && x == 1)",
        "['args'].exists(x, x == 'args') && [.tool].exists(tools, .tool.name == tools.name)",
        "has({'a': null}.a) && !has({'a': 1}.b)",
        "principal.groups.exists(g, g.startsWith('ana'))",
        "[1, 2].map(x, x).map(x, x).map(x, x).map(x, x) == [1, 2]",
    ]);
    check(
        "{}",
        &[
            (
                "'abc'.all(x, true)",
                "at character 7: `all` does not go with string",
            ),
            (
                "[1].all(x, x)",
                "at character 12: this is neither true nor false but int",
            ),
            (
                "[1].filter(x, x) == []",
                "at character 15: this is neither true nor false but int",
            ),
            ("has('a'.b)", "at character 1: `has` does not go with string"),
        ],
    );
}

#[test]
fn functions() {
    check_true(&[
        "size('héllo') == 5 && 'héllo'.size() == 5 && size(b'\\xff\\xff') == 2",
        "size([1, 2]) == 2 && size({'a': 1}) == 1",
        "'hello'.contains('ell') && !'hello'.contains('ELL') && 'x'.contains('')",
        "'hello'.startsWith('he') && 'hello'.endsWith('lo')",
        "'orders-17'.matches('^[a-z]+-[0-9]+$') && matches('abc', 'b')",
        "!'١٢'.matches(r'\\d')",
        "'PROD'.matches('(?i)prod')",
        "int('-17') == -17 && int(3u) == 3 && int(2.9) == 2 && int(-2.9) == -2",
        "uint('17') == 17u && uint(3) == 3u && uint(2.9) == 2u",
        "double('1.5') == 1.5 && double(3) == 3.0 && double(3u) == 3.0",
        "string(17) == '17' && string(1.5) == '1.5' && string(true) == 'true' && string(b'abc') == 'abc'",
        "bool('true') && !bool('f') && bool(true)",
        "bytes('é') == b'\\xc3\\xa9'",
        "dyn(1) == 1",
        "int(timestamp('1970-01-01T00:01:00Z')) == 60 && timestamp(60) == timestamp('1970-01-01T00:01:00Z')",
        "string(timestamp('2026-11-21T15:04:05.5Z')) == '2026-11-21T15:04:05.500Z' || true",
        "string(now) == '2026-11-21T15:04:05.678Z'",
        "string(duration('90m')) == '5400s'",
        "'b' in ['a', 'b'] && !('c' in ['a', 'b']) && 'a' in {'a': 1} && 1 in [1.0] && 2 in {2u: 'x'}",
        "[1, 2][0] == 1 && [1, 2][1u] == 2 && [1, 2][1.0] == 2 && {'a': 1}['a'] == 1 && {7: 'x'}[7] == 'x'",
    ]);
    check(
        "{}",
        &[
            ("int('x') > 0", "at character 1: the value is no int"),
            ("int('+1') > 0", "at character 1: the value is no int"),
            ("int(1e19) > 0", "at character 1: the result is too large"),
            (
                "int(9223372036854775808u) > 0",
                "at character 1: the result is too large",
            ),
            ("uint(-1) > 0u", "at character 1: the result is too large"),
            ("bool('yes')", "at character 1: the value is no bool"),
            (
                "timestamp('yesterday') < now",
                "at character 1: the value is no timestamp",
            ),
            (
                "duration('1d') < duration('1h')",
                "at character 1: the value is no duration",
            ),
            (
                "string([1]) == ''",
                "at character 1: `string` does not go with list",
            ),
            ("size(1) == 1", "at character 1: `size` does not go with int"),
            (
                "'a'.contains(1)",
                "at character 5: `contains` does not go with string and int",
            ),
            ("[1][1] == 1", "at character 4: the list has no such element"),
            ("[1][-1] == 1", "at character 4: the list has no such element"),
            (
                "[1]['a'] == 1",
                "at character 4: `[]` does not go with list and string",
            ),
            ("{'a': 1}['b'] == 1", "at character 9: there is no such key"),
            ("{'a': 1}.b == 1", "at character 10: there is no `b`"),
            (
                "{'a': 1, 'a': 2} == {}",
                "at character 1: a key of this map is there twice, or of a type that no key has",
            ),
            (
                "{1.5: 1} == {}",
                "at character 1: a key of this map is there twice, or of a type that no key has",
            ),
            (
                "'a' in 'abc'",
                "at character 5: `in` does not go with string and string",
            ),
        ],
    );
}

#[test]
fn time_has_getters_at_fixed_offsets() {
    check_true(&[
        "now.getFullYear() == 2026 && now.getMonth() == 10 && now.getDate() == 21 && now.getDayOfMonth() == 20",
        "now.getDayOfWeek() == 6 && now.getDayOfYear() == 324",
        "now.getHours() == 15 && now.getMinutes() == 4 && now.getSeconds() == 5 && now.getMilliseconds() == 678",
        "now.getHours('UTC') == 15 && now.getHours('+10:30') == 1 && now.getDate('+10:30') == 22",
        "now.getHours('-16:00') == 23 && now.getDayOfWeek('-16:00') == 5",
        "timestamp('1969-12-31T23:59:59Z').getFullYear() == 1969",
        "duration('90m').getHours() == 1 && duration('90m').getMinutes() == 90",
        "duration('1.5s').getSeconds() == 1 && duration('1.5s').getMilliseconds() == 500",
    ]);
    check(
        "{}",
        &[(
            "duration('1s').getDate() == 1",
            "at character 16: `getDate` does not go with duration",
        )],
    );
    check_refused(&[
        (
            "now.getHours('Europe/Berlin') < 18",
            "at character 5: only `UTC` and offsets from it, as `+02:00`, are known; what zones with names mean changes \
             with the years",
        ),
        (
            "now.getHours(args.zone) < 18",
            "at character 5: the zone must be written out, as `\"+02:00\"`",
        ),
    ]);
}

#[test]
fn variables() {
    check(
        r#" {"env":"staging","n":3,"big":18446744073709551615,"f":1.5,"list":[1,"a",{"x":[true]}],"s":"a\u0062c","nil":null,"a-b":1} "#,
        &[
            (
                "args.env == 'staging' && args.n == 3 && args.big == 18446744073709551615u && args.f == 1.5",
                "true",
            ),
            ("args.list[2].x[0]", "true"),
            ("args.list == [1, 'a', {'x': [true]}]", "true"),
            (
                "size(args.list) == 3 && size(args) == 8 && args['a-b'] == 1",
                "true",
            ),
            ("args.s == 'abc'", "true"),
            ("args.nil == null && has(args.nil) && !has(args.none)", "true"),
            ("'env' in args && !('none' in args)", "true"),
            ("args.all(k, k != 'secret')", "true"),
            ("args.list + ['b'] == [1, 'a', {'x': [true]}, 'b']", "true"),
        ],
    );
    check(
        "",
        &[
            ("args == {}", "true"),
            ("size(args) == 0", "true"),
            ("args.env == 'x'", "at character 6: there is no `env`"),
            (
                "principal.issuer == 'https://id.example.com' && principal.subject == 'ann'",
                "true",
            ),
            (
                "principal.tenant == 'acme' && principal.email == 'ann@example.com'",
                "true",
            ),
            (
                "principal.groups == ['analysts', 'people'] && principal.scopes[0] == 'orders:read'",
                "true",
            ),
            (
                "principal.roles == ['analyst'] && 'analyst' in principal.roles",
                "true",
            ),
            ("has(principal.name)", "false"),
            ("principal.name == ''", "at character 11: there is no `name`"),
            (
                "size(principal) == 7 && 'email' in principal && !('name' in principal)",
                "true",
            ),
            ("tool.name == 'list' && tool.server == 'orders'", "true"),
            ("tool.effect == 'destructive' && tool.kind == 'call'", "true"),
            (
                "tool == {'name': 'list', 'server': 'orders', 'effect': 'destructive', 'kind': 'call'}",
                "true",
            ),
        ],
    );
}

#[test]
fn numbers_of_arguments_are_never_rounded() {
    check(
        r#"{"big":18446744073709551616,"long":1.000000000000000001,"half":"\ud800"}"#,
        &[
            (
                "args.big > 0",
                "at character 6: a number in the arguments is larger, or has more digits, than can be compared",
            ),
            (
                "args.long > 1.0",
                "at character 6: a number in the arguments is larger, or has more digits, than can be compared",
            ),
            (
                "args.half == ''",
                "at character 6: a string in the arguments is no Unicode text",
            ),
            (
                "has(args.big)",
                "at character 1: a number in the arguments is larger, or has more digits, than can be compared",
            ),
        ],
    );
    check(
        "[1]",
        &[(
            "size(args) == 1",
            "at character 1: the arguments are no JSON object",
        )],
    );
}

#[test]
fn what_is_not_known_yet_stays_unknown() {
    for (condition, expected) in [
        ("true", "true"),
        ("args.env == 'x'", "unknown"),
        ("args.env == 'x' || true", "true"),
        ("args.env == 'x' && false", "false"),
        ("principal.subject == 'bob' && args.env == 'x'", "false"),
        ("principal.subject == 'ann' || args.env == 'x'", "true"),
        ("principal.subject == 'bob' || args.env == 'x'", "unknown"),
        ("!(args.env == 'x')", "unknown"),
        ("has(args.env)", "unknown"),
        ("args.n / 0 > 1", "unknown"),
        ("1 / 0 > 1 && args.x", "false"),
        ("1 / 0 > 1 || args.x", "unknown"),
        ("principal.nothing == 1 && args.x", "never"),
        ("now.getHours() < 18", "unknown"),
        ("args.x ? false : false", "false"),
        ("args.x ? true : true", "unknown"),
        ("args.x ? 1 == 2 : 2 == 3", "false"),
        ("(args.x ? 'a' : 'b') == 'a'", "unknown"),
        ("(args.x ? 'a' : 'b').size() == 1", "unknown"),
        ("args.x ? tool.name : tool.name", "false"),
        ("args.list.exists(x, x == 1)", "unknown"),
        ("args.list.all(x, false)", "unknown"),
        ("principal.groups.exists(g, g == args.group)", "unknown"),
        ("principal.groups.exists(g, g == args.group && false)", "false"),
        ("principal.groups.all(g, g != args.group)", "unknown"),
        ("principal.groups.exists_one(g, g == args.group)", "unknown"),
        (
            "size(principal.groups.filter(g, g == args.group)) == 1",
            "unknown",
        ),
        ("'analysts' in [args.group]", "unknown"),
        ("args == {}", "unknown"),
        ("[].exists(x, args.x)", "false"),
        ("principal.name == args.name", "false"),
        ("args.name == principal.name", "false"),
    ] {
        if expected == "never" {
            assert!(Condition::new(condition).is_err());
            continue;
        }
        let found = ask(condition, Circumstances::Listing);
        let found = if found.contains("there is no") {
            "false"
        } else {
            &found
        };
        assert_eq!(found, expected, "{condition}");
    }
}

#[test]
fn what_does_not_exist_is_refused_with_what_may_be_meant() {
    check_refused(&[
        ("", "at character 1: expected a value, found the end"),
        (
            "arg.env == ''",
            "at character 1: there is no variable `arg`; did you mean `args`?",
        ),
        (
            "user == ''",
            "at character 1: there is no variable `user`; there are args, principal, tool, now",
        ),
        (
            "principal.group == []",
            "at character 11: there is no field of `principal` `group`; did you mean `groups`?",
        ),
        (
            "tool.nmae == ''",
            "at character 6: there is no field of `tool` `nmae`; did you mean `name`?",
        ),
        (
            "'a'.startswith('a')",
            "at character 5: there is no function `startswith`; did you mean `startsWith`?",
        ),
        (
            "lower('A') == 'a'",
            "at character 1: there is no function `lower`; there are size, bool, int, uint, double, string, bytes, timestamp, duration, has, dyn, matches",
        ),
        (
            "contains('a', 'b')",
            "at character 1: `contains` is called on a value, as in `value.contains(…)`",
        ),
        (
            "'1'.int() == 1",
            "at character 5: `int` is called as `int(value)`",
        ),
        (
            "size() == 1",
            "at character 1: `size` takes 1 argument, and here are 0",
        ),
        (
            "has(args)",
            "at character 1: `has` takes a field, as in `has(args.name)`",
        ),
        (
            "has(args['x'])",
            "at character 1: `has` takes a field, as in `has(args.name)`",
        ),
        (
            "'a'.matches(args.p)",
            "at character 18: the pattern must be written out, as a string",
        ),
        (
            "'a'.matches('(')",
            "at character 13: the regular expression cannot be read: unclosed group",
        ),
        ("for == 1", "at character 1: `for` is a reserved word"),
        (
            "args.in == 1",
            "at character 6: `in` is no field; write `[\"in\"]`",
        ),
        (
            "args.'x' == 1",
            "at character 6: expected a field after `.`, found a string; other keys are written `[\"…\"]`",
        ),
        (
            "Message{a: 1} == 1",
            "at character 1: there is no variable `Message`; there are args, principal, tool, now",
        ),
        (
            "args{a: 1} == 1",
            "at character 5: there are no messages; a map is written `{\"key\": value}`",
        ),
        (
            "true true",
            "at character 6: expected an operator or the end, found `true`",
        ),
        (
            "(true",
            "at character 6: expected `)` after what began with `(`, found the end",
        ),
        (
            "true ? false",
            "at character 13: expected `:` and what else after `?`, found the end",
        ),
        (
            "[1, 2 == []",
            "at character 12: expected `]` or `,` after an element, found the end",
        ),
        (
            "[1].all(1, true)",
            "at character 9: `all` takes a variable first, found a number",
        ),
        (
            "[1].all(args, true)",
            "at character 9: `args` is there already; choose another name",
        ),
        (
            "[1].all(x)",
            "at character 10: expected `,` after the variable, found `)`",
        ),
        ("args.env", "accepted"),
        (
            "'text'",
            "at character 1: a condition is true or false, and this is a string",
        ),
        (
            "1 + 1",
            "at character 3: a condition is true or false, and this is a sum",
        ),
        (
            "args",
            "at character 1: a condition is true or false, and this is a map",
        ),
        (
            "true ? 1 : 2",
            "at character 6: a condition is true or false, and this is a number",
        ),
        (
            "[1].map(x, x)",
            "at character 5: a condition is true or false, and this is a list",
        ),
        ("é", "at character 1: `é` means nothing here"),
        (
            "'é' == arg",
            "at character 8: there is no variable `arg`; did you mean `args`?",
        ),
    ]);
}

#[test]
fn what_is_too_large_is_refused() {
    let six = "[1,2].map(a, [1,2].map(b, [1,2].map(c, [1,2].map(d, [1,2].map(e, [1,2].map(f, f)))))) == []";
    let chain = vec!["args.x == 1"; 100].join(" || ");
    let sum = vec!["1"; 60].join(" + ");
    for (condition, message) in [
        (
            six.to_owned(),
            "at character 33: more than 2 macros lie within each other",
        ),
        (
            format!("{}true{}", "(".repeat(60), ")".repeat(60)),
            "at character 49: more than 48 expressions lie within each other",
        ),
        (
            format!("{}true", "!".repeat(60)),
            "at character 48: more than 48 expressions lie within each other",
        ),
        (
            format!("{sum} == 60"),
            "at character 1: more than 48 expressions lie within each other",
        ),
        (
            chain.replace("== 1", "in [1, 2, 3, 4]"),
            "the condition is made of more than 512 expressions",
        ),
        (
            format!("'{}' == ''", "x".repeat(4096)),
            "at character 1: the condition is longer than 4096 bytes",
        ),
        (
            r"'a'.matches('(\\w{100}){100}')".to_owned(),
            "at character 13: the regular expression is too large; use smaller repetitions",
        ),
    ] {
        let error = Condition::new(&condition).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert!(Condition::new(&chain).is_ok());
}

/// How much fuel `condition` burns, and what it says.
fn burn(condition: &str, arguments: &str) -> (usize, String) {
    let condition = Condition::new(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
    let caller = ann();
    let mut machine = Machine::new(&caller, &ACTION, Some(arguments.as_bytes()), Some(nanos(NOW)));
    let answer = machine.eval(&condition.0.parsed.expr);
    let circumstances = Circumstances::Calling {
        arguments: b"",
        now: NOW,
    };
    (machine.fuel.used(), told(condition.truth(answer, circumstances)))
}

#[test]
fn bombs_run_out_of_fuel_and_deny() {
    let numbers = (0..2000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let arguments = format!(r#"{{"list":[{numbers}],"text":"{}"}}"#, "a".repeat(100_000));
    for condition in [
        "args.list.all(x, args.list.all(y, x + y >= 0))",
        "args.list.map(x, args.list.map(y, y)).all(l, size(l) > 0)",
        "args.list.all(x, x in args.list)",
        "args.list.all(x, args.list[1999] == 1999)",
        "args.list.all(x, args.text.contains('b') == false)",
        "args.list.all(x, args.text.matches('(x+x+)+y') == false)",
        "args.list.all(x, args.text + args.text != '')",
        "args.list.map(x, args.text + args.text).all(t, t != '')",
        "args.list.all(x, args.list == args.list)",
        "args.list.all(x, size(args.text) > 0)",
    ] {
        let (used, said) = burn(condition, &arguments);
        assert_eq!(said, "it takes too many steps", "{condition}");
        assert!(used <= fuel::TANK, "{condition}: {used}");
    }
}

#[test]
fn what_people_write_costs_little() {
    let arguments = r#"{"env":"staging","amount":12,"tags":["a","b","c"],"note":"some words about it"}"#;
    for (condition, at_most) in [
        ("args.env != \"production\"", 16),
        ("args.amount <= 100 && now.getHours('+01:00') < 18", 20),
        (
            "principal.groups.exists(g, g == 'analysts') && args.tags.all(t, t in ['a', 'b', 'c'])",
            70,
        ),
        ("args.note.matches('^[a-z ]+$')", 40),
    ] {
        let (used, said) = burn(condition, arguments);
        assert_eq!(said, "true", "{condition}");
        assert!(used <= at_most, "{condition}: {used}");
    }
    // Large arguments that a condition only looks past are no reason to refuse.
    let large = format!(r#"{{"file":"{}","env":"staging"}}"#, "x".repeat(8 << 20));
    assert_eq!(burn("args.env == 'staging'", &large).1, "true");
}

#[test]
fn what_it_looks_at_of_the_principal_is_known() {
    let mentions = |text| Condition::new(text).unwrap().mentions();
    assert_eq!(mentions("args.x == 1"), Mentions::NOTHING);
    assert_eq!(mentions("principal.email == ''"), Mentions::EMAIL);
    assert_eq!(
        mentions("has(principal.name) || 'a' in principal.groups"),
        Mentions::NAME.and(Mentions::GROUPS)
    );
    assert!(mentions("principal['name'] == ''").has(Mentions::NAME));
    assert!(mentions("'name' in principal").has(Mentions::NAME));
    assert!(mentions("[principal].exists(p, p.name == '')").has(Mentions::NAME));
    assert!(mentions(".principal.name == ''").has(Mentions::NAME));
}

/// Conditions of a small grammar, that read and are true, false or an error.
fn conditions() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just("args.n".to_owned()),
        Just("args.none".to_owned()),
        Just("now.getHours()".to_owned()),
        Just("size(principal.groups)".to_owned()),
        Just("1".to_owned()),
        Just("0".to_owned()),
    ];
    let leaf = prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("args.b".to_owned()),
        Just("has(args.n)".to_owned()),
        Just("has(principal.name)".to_owned()),
        (
            number.clone(),
            prop_oneof![Just("=="), Just("<"), Just("!=")],
            number.clone()
        )
            .prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
        (number.clone(), number.clone()).prop_map(|(a, b)| format!("{a} / {b} == 1")),
        (number.clone(), number).prop_map(|(a, b)| format!("{a} in [{b}, 3]")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(({a}) && ({b}))")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(({a}) || ({b}))")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("(({a}) ? ({b}) : ({c}))")),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| format!("(({a} ? 'x' : 'y') == ({b} ? 'x' : 'z'))")),
            (
                inner.clone(),
                prop_oneof![Just("all"), Just("exists"), Just("exists_one")]
            )
                .prop_map(|(a, fold)| format!("[1, 2].{fold}(i, ({a}) || i == 2)")),
        ]
    })
}

fn arguments() -> impl Strategy<Value = String> {
    let n = prop_oneof![
        Just(String::new()),
        (0_i64..4).prop_map(|n| format!(r#""n":{n}"#)),
        Just(r#""n":1.5"#.to_owned()),
        Just(r#""n":"text""#.to_owned()),
    ];
    let b = prop_oneof![Just(r#""b":true"#), Just(r#""b":false"#), Just(r#""b":"x""#)];
    (n, b).prop_map(|(n, b)| {
        if n.is_empty() {
            format!("{{{b}}}")
        } else {
            format!("{{{n},{b}}}")
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// The heart of it: what is hidden in a list can never be called, and what is certain is so in every call.
    #[test]
    fn what_is_said_without_arguments_holds_with_any(condition in conditions(), arguments in arguments(), hour in 0_i64..24) {
        let Ok(condition) = Condition::new(&condition) else {
            // More macros within each other than there may be.
            return Ok(());
        };
        let caller = ann();
        let now = UnixMillis(hour * 3_600_000);
        let called = condition.holds(&caller, &ACTION, Circumstances::Calling { arguments: arguments.as_bytes(), now });
        match condition.holds(&caller, &ACTION, Circumstances::Listing) {
            Truth::True => prop_assert_eq!(called, Truth::True),
            Truth::False | Truth::Failed(_) => prop_assert_ne!(called, Truth::True),
            Truth::Unknown => prop_assert_ne!(called, Truth::Unknown),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z0-9 .,()\\[\\]{}'\"!?:&|<>=+*/%\\\\-]{0,60}|\\PC{0,60}") {
        let _ = Condition::new(&text);
    }

    #[test]
    fn no_piece_of_a_condition_makes_the_reader_panic(condition in conditions(), cut in 0_usize..200, more in "\\PC{0,3}") {
        let mut text: String = condition.chars().take(cut).collect();
        text.push_str(&more);
        if let Ok(condition) = Condition::new(&text) {
            let caller = ann();
            let _ = condition.holds(&caller, &ACTION, Circumstances::Listing);
            let _ = condition.holds(&caller, &ACTION, Circumstances::Calling { arguments: b"{\"n\":1}", now: NOW });
        }
    }
}
