//! `calculator`: one tool that evaluates an expression, exactly where that is possible.
//!
//! Models slip in long arithmetic; binary fractions slip in short one (`0.1 + 0.2`). Numbers are therefore fractions of
//! 128-bit integers until a function or an overflow makes an approximation necessary, and the answer says which it is.

mod expression;
mod functions;
mod number;

use gatepost::rmcp::{
    self, Json, ServerHandler,
    handler::server::{router::tool::ToolRouter, wrapper::Parameters},
    model::{Implementation, ServerCapabilities, ServerConfig},
    schemars, tool, tool_handler, tool_router,
};
use gatepost_gateway::Module;
use serde::{Deserialize, Serialize};

use crate::{ModuleError, options::Options};

/// The module `calculator`.
pub(crate) fn module(options: &Options<'_>) -> Result<impl Module, ModuleError> {
    options.only(&[])?;
    let calculator = Calculator {
        tool_router: Calculator::tool_router(),
    };
    Ok(gatepost::module(move || calculator.clone()))
}

#[derive(Clone)]
struct Calculator {
    tool_router: ToolRouter<Self>,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct Calculate {
    /// The expression, for example `2 * (3 + 4)^2`, `-7 % 3`, `sqrt(2) / sin(pi / 6)`, `round(10 / 3, 2)`. At most 4096
    /// characters. Multiplication is always written (`2 * pi`, not `2pi`); angles are radians.
    expression: String,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Calculated {
    /// The value in decimal.
    result: String,
    /// Whether `result` is the exact value; if not, it is rounded to about 16 significant digits.
    exact: bool,
    /// The exact value as a fraction, when it is known but no decimal is: `1/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    fraction: Option<String>,
}

#[tool_router]
impl Calculator {
    /// Evaluate an arithmetic expression. Use it for any arithmetic instead of working it out yourself: whole numbers and
    /// decimals are computed exactly (`0.1 + 0.2` is `0.3`). Operators, weakest first: `+ -`, `* / %`, unary `-`, `^`
    /// (right to left, so `-2^2` is -4), `!`. `%` is the remainder with the sign of the divisor. Functions: abs, sign,
    /// floor, ceil, trunc, round(x, digits), sqrt, cbrt, exp, ln, log(x, base; 10 if left out), log2, sin, cos, tan, asin,
    /// acos, atan, atan2(y, x), sinh, cosh, tanh, degrees, radians, hypot, min, max, sum, mean, gcd, lcm, pow, mod,
    /// factorial. Constants: pi, tau, e, phi.
    #[tool(annotations(
        title = "Calculate",
        read_only_hint = true,
        idempotent_hint = true,
        destructive_hint = false,
        open_world_hint = false
    ))]
    async fn calculate(
        &self,
        Parameters(Calculate { expression }): Parameters<Calculate>,
    ) -> Result<Json<Calculated>, String> {
        let number = expression::evaluate(&expression).map_err(|error| error.to_string())?;
        let (result, exact) = number.decimal();
        Ok(Json(Calculated {
            result,
            exact,
            fraction: if exact { None } else { number.fraction() },
        }))
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Calculator {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(
                Implementation::new("gatepost-calculator", env!("CARGO_PKG_VERSION"))
                    .with_title("Calculator"),
            )
            .with_instructions("Exact arithmetic: call `calculate` with an expression.")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::testing::{BOTH, Caller};

    #[tokio::test]
    async fn the_tool_answers_in_both_eras() {
        let none = serde_json::Map::new();
        let module: Arc<dyn Module> = Arc::new(module(&Options::new("calculator", &none)).unwrap());
        for era in BOTH {
            let mut caller = Caller::connect(&module, era).await;
            let tools = caller.check_tools(&["calculate"]).await;
            assert_eq!(tools[0]["annotations"]["idempotentHint"], true);
            assert_eq!(tools[0]["outputSchema"]["type"], "object");
            let value = caller
                .value("calculate", json!({"expression": "0.1 + 0.2"}))
                .await;
            assert_eq!(value, json!({"result": "0.3", "exact": true}));
            let value = caller.value("calculate", json!({"expression": "1 / 3"})).await;
            assert_eq!(
                value,
                json!({"result": "0.3333333333333333", "exact": false, "fraction": "1/3"})
            );
            let said = caller.failure("calculate", json!({"expression": "2 + (3"})).await;
            assert!(said.starts_with("position 7:"), "{said}");
            let said = caller
                .failure("calculate", json!({"expression": "1", "extra": 1}))
                .await;
            assert!(said.contains("unknown field `extra`"), "{said}");
        }
    }
}
