module chainlab

go 1.19
