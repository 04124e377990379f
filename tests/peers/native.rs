//! The native server that the measurements compare with: the same tool as the guest `workload` has,
//! without a sandbox, on rmcp as it comes.

use std::process::ExitCode;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, JsonObject,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler, ServiceExt as _};
use serde::Deserialize;
use tokio::net::TcpListener;

/// Has one tool, which gives a text back.
struct Native;

#[derive(Deserialize)]
struct Echo {
    text: String,
}

impl ServerHandler for Native {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut schema = JsonObject::new();
        schema.insert("type".to_owned(), "object".into());
        let tool = Tool::new("echo", "Gives a text back.", Arc::new(schema));
        Ok(ListToolsResult::with_all_items(vec![tool]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let Echo { text } = serde_json::from_value(arguments.into())
            .map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let served = match (arguments.next().as_deref(), arguments.next()) {
        (Some("stdio"), None) => stdio(rmcp::transport::stdio()).await,
        (Some("pipes"), None) => stdio(rmcp::transport::stdio_pipes()).await,
        (Some("http"), Some(address)) => http(&address).await,
        _ => Err("usage: native-peer stdio | pipes | http ADDRESS".into()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the server ended");
            ExitCode::FAILURE
        }
    }
}

type Served = Result<(), Box<dyn std::error::Error>>;

async fn stdio<R, W>(streams: (R, W)) -> Served
where
    R: tokio::io::AsyncRead + Send + Unpin + 'static,
    W: tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    Native.serve(streams).await?.waiting().await?;
    Ok(())
}

async fn http(address: &str) -> Served {
    use axum::serve::ListenerExt as _;

    let service = StreamableHttpService::new(
        || Ok(Native),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default().with_json_response(true),
    );
    let router = axum::Router::new().nest_service("/mcp", service);
    // Without it, Nagle's algorithm and delayed acknowledgements hold answers back for 40 ms.
    let listener = TcpListener::bind(address).await?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}
