"""What several notebooks draw: each plot takes and returns axes, and saves nothing."""

from helpers.figures.curves import SUGGESTED, plot_curves, plot_plateau, plot_range_tests, plot_rate
from helpers.figures.nets import measure_blocks, plot_net
from helpers.figures.pictures import overlay, own_picture, plot_images, plot_rows
from helpers.figures.rows import plot_confusion, plot_intervals
from helpers.figures.style import AVERAGED, BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY
from helpers.figures.style import TEST, TRAIN, VALIDATION, WIDTH, percent, png, show, use_style
