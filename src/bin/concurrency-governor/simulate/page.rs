//! The report as one HTML file that needs nothing beside it.

use super::chart::escaped;

/// A page with the picture, what was simulated and what came of it.
pub(crate) fn html(title: &str, facts: &[(&str, String)], summary: &str, picture: &str) -> String {
    let row = |(name, value): &(&str, String)| {
        ["<tr><th scope=\"row\">", &escaped(name), "</th><td>", &escaped(value), "</td></tr>\n"].concat()
    };
    let rows: String = facts.iter().map(row).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <table>\n{rows}</table>\n<pre>{summary}</pre>\n{picture}</body>\n</html>\n",
        title = escaped(title),
        summary = escaped(summary),
    )
}

const STYLE: &str = "
body{max-width:1080px;margin:2rem auto;padding:0 1rem;font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
h1{font-size:1.4rem}table{border-collapse:collapse}th{text-align:left;font-weight:500;padding-right:1.5rem;vertical-align:top}
pre{overflow-x:auto}svg{max-width:100%;height:auto}
";
