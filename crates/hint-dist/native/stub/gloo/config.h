// Gloo's headers are not part of libtorch's packages. c10d's header names a few of their types, of which only pointers
// and virtual functions cross the border; they are declared here and in the files beside this one.
#pragma once
