use std::sync::Arc;

use kami_core::call::{Collected, ContentBody, call};
use kami_core::registry::DataDir;
use kami_core::resolve::{HostOptions, Resolver};

/// Calls a tool that is installed in `data`, and gives the first text of its result.
pub async fn ask(
    data: &DataDir,
    tool: &str,
    arguments: serde_json::Value,
) -> Result<String, Box<dyn std::error::Error>> {
    let resolver = Resolver::open(data, HostOptions::default())?;
    let catalog = resolver.catalog()?;
    let tool = resolver.resolve(&catalog.find(tool)?).await?;

    let arguments = arguments.as_object().ok_or("arguments are an object")?.clone();
    let events = Arc::new(Collected::default());
    let report = call(&tool, arguments, Arc::clone(&events) as _).await;

    if let Some(denial) = report.denials.first() {
        let hint = denial.hint(tool.package().as_str()).unwrap_or_default();
        return Err(format!("{denial}; {hint}").into());
    }
    match report.outcome.complete() {
        Ok(result) => {
            let text = result.content.into_iter().find_map(|content| match content.body {
                ContentBody::Text(text) => Some(text),
                _ => None,
            });
            Ok(text.unwrap_or_default())
        }
        Err(error) => Err(error.for_model().into()),
    }
}
