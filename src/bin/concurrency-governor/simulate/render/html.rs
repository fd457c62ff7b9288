//! The report as one HTML file that loads no other file.

use super::summary::SummaryRows;
use super::svg::escape_xml;

/// Renders a page with the setup, the tables and the charts: those for a wide page, and those for a narrow one.
pub(crate) fn html(
    title: &str,
    setup: &[(&str, String)],
    summaries: &[SummaryRows],
    [wide_chart, narrow_chart]: [&str; 2],
) -> String {
    let summary = summaries.iter().map(SummaryRows::to_html).collect::<String>();
    page(title, setup, &summary, [wide_chart, narrow_chart])
}

/// Renders a page for a rule on a plant: with the setup, the charts and the recorded decisions.
pub(crate) fn plant_html(
    title: &str,
    setup: &[(&str, String)],
    decisions: &str,
    charts: [&str; 2],
) -> String {
    let decisions =
        format!("<details><summary>Decisions</summary><pre>{}</pre></details>\n", escape_xml(decisions));
    page(title, setup, &decisions, charts)
}

fn page(
    title: &str,
    setup: &[(&str, String)],
    summary: &str,
    [wide_chart, narrow_chart]: [&str; 2],
) -> String {
    let row = |(label, text): &(&str, String)| {
        ["<tr><th scope=\"row\">", &escape_xml(label), "</th><td>", &escape_xml(text), "</td></tr>\n"]
            .concat()
    };
    let rows: String = setup.iter().map(row).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <table class=\"setup\">\n{rows}</table>\n{summary}\
         <div class=\"wide\">\n{wide_chart}</div>\n<div class=\"narrow\">\n{narrow_chart}</div>\n</body>\n</html>\n",
        title = escape_xml(title),
    )
}

/// On a narrow page, such as one of 400 pixels, each gate of the summary is a list of headings with their numbers, and the
/// charts are those that were drawn for it: a scaled chart would have tiny text.
const STYLE: &str = "
body{max-width:1080px;margin:2rem auto;padding:0 1rem;font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
h1{font-size:1.4rem;overflow-wrap:anywhere}table{border-collapse:collapse;margin-bottom:1.5rem}
th{text-align:left;font-weight:500;vertical-align:top}.setup th{padding-right:1.5rem}.setup td{overflow-wrap:anywhere}
.summary th,.summary td{padding:.15rem .5rem;white-space:nowrap}.summary tbody tr{border-top:1px solid #8886}
.summary td,.summary th+th{text-align:right;font-variant-numeric:tabular-nums}
pre{overflow-x:auto;font-size:.85rem}svg{max-width:100%;height:auto}.narrow{display:none}
@media (max-width:760px){
.wide,.summary thead{display:none}.narrow{display:block}.summary,.summary tbody,.summary tr,.summary td,.summary th{display:block}
.summary th{font-weight:600;padding:.5rem 0 .2rem}.summary td{display:flex;justify-content:space-between;padding:0}
.summary td::before{content:attr(data-heading)}
}
";
