//! How a cost grows, as a picture.

use std::path::Path;

use plotters::prelude::*;

use super::report::Growth;

/// The size of a picture, in points.
const SIZE: (u32, u32) = (720, 400);

/// One colour for each series; they can be told apart without seeing red or green.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 90, 181), RGBColor(220, 50, 32), RGBColor(120, 120, 120), RGBColor(0, 0, 0)];

/// Draws to a file in the SVG format; both axes are logarithmic.
///
/// # Errors
/// Where the file cannot be written.
pub fn draw(growth: &Growth, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let all = || growth.series.iter().flat_map(|(_, points)| points.iter().copied());
    let (left, right) = range(all().map(|(x, _)| x));
    let (bottom, top) = range(all().map(|(_, y)| y));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d((left..right).log_scale(), (bottom..top).log_scale())?;
        chart
            .configure_mesh()
            .x_desc(growth.along)
            .y_desc(growth.cost)
            .light_line_style(WHITE)
            .draw()?;
        for ((name, points), colour) in growth.series.iter().zip(COLOURS.iter().cycle()) {
            let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
            chart.draw_series(line)?.label(name).legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
            });
            let dots = points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(dots)?;
        }
        chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
        area.present()?;
    }
    svg.push('\n');
    std::fs::write(file, svg)?;
    Ok(())
}

/// From a little below the least to a little above the most.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) =
        values.fold((f64::MAX, f64::MIN_POSITIVE), |(a, b), value| (a.min(value), b.max(value)));
    (least / 1.3, most * 1.3)
}
