"""Every picture of the pipeline, as PNG files, and GIF where it moves, whose bytes depend on nothing but the arguments.

A file for a family of pictures: cells, animation, alphas, curves, accuracy, roadmap, gradcam, dnal; `style` and
`scales` hold what they share. Of each picture, one function builds the figure (`cell_figure`) and one saves it
(`draw_cell`). All figures are narrow, so that their text stays legible on a telephone. The PIBConv paper, whose figures
some repeat, is Ahmadian et al., ICASSP 2023.
"""
