//! The report as one HTML file that loads no other file.

use super::svg::escape_xml;

/// Renders a page with the setup, the summary and the charts.
pub(crate) fn html(title: &str, setup: &[(&str, String)], summary: &str, chart: &str) -> String {
    let row = |(label, text): &(&str, String)| {
        ["<tr><th scope=\"row\">", &escape_xml(label), "</th><td>", &escape_xml(text), "</td></tr>\n"]
            .concat()
    };
    let rows: String = setup.iter().map(row).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <table>\n{rows}</table>\n<pre>{summary}</pre>\n{chart}</body>\n</html>\n",
        title = escape_xml(title),
        summary = escape_xml(summary),
    )
}

const STYLE: &str = "
body{max-width:1080px;margin:2rem auto;padding:0 1rem;font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
h1{font-size:1.4rem}table{border-collapse:collapse}th{text-align:left;font-weight:500;padding-right:1.5rem;vertical-align:top}
pre{overflow-x:auto}svg{max-width:100%;height:auto}
";
