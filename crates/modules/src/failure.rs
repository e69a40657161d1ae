//! Why a tool gave no answer, and to whom that matters.

use gatepost::rmcp::{
    ErrorData,
    handler::server::tool::IntoCallToolResult,
    model::{CallToolResponse, CallToolResult, ContentBlock},
};

/// Why a tool gave no answer.
pub(crate) enum Failure {
    /// Something the model is told, because it can do something else.
    Model(String),
    /// Something it cannot help.
    Server(ErrorData),
}

// === impl Failure ===

impl From<ErrorData> for Failure {
    fn from(error: ErrorData) -> Self {
        Self::Server(error)
    }
}

impl IntoCallToolResult for Failure {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        match self {
            Self::Model(text) => Ok(CallToolResult::error(vec![ContentBlock::text(text)]).into()),
            Self::Server(error) => Err(error),
        }
    }
}
