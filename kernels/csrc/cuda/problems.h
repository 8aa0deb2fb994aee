// What each operator takes: pointers and sizes, no torch. `kernels/cuda/problems.py` mirrors these structs.
//
// Maps are N×H×W×C, channels innermost, C a multiple of 16 (the network pads with zeros). Weights of a 1×1 convolution
// are inputs × outputs. T is bf16 or float; sums, biases, depthwise weights and gates are float32.
//
// A gate record is four floats per cell and image: the factors of keep, up and down as applied, and the cell's state.
// A kernel reads the record of its image and leaves at once where nothing is to be done, so routes never reach the host.
#pragma once

namespace dynroute {

constexpr int kMostProblems = 8;  // of one launch: every cell or path of a layer

enum Slot { kKeep = 0, kUp = 1, kDown = 2, kState = 3, kRecord = 4 };
enum State { kOpen = 0, kClosed = 1, kDead = 2 };
enum RouteMode { kFree = 0, kForcedOnes = 1, kForcedGates = 2 };

// The records (N×4) of the cells from which a map is made; null where there is no such cell.
struct Sources {
    const float* down;
    const float* keep;
    const float* up;
};

// out = [ReLU](pointwise(depthwise3×3(x)) + bias [+ out])
struct Separable {
    const void* x;           // N × in_height × in_width × channels
    const float* depthwise;  // 9 × channels
    const void* weight;      // channels × outputs
    const float* bias;       // outputs
    const float* gate;       // N × 4; runs where the state is open
    void* out;               // N × height × width × outputs
    int in_height, in_width, height, width, channels, outputs;
    int relu, accumulate;
};

// out = factor · ReLU(pointwise(x at every stride-th pixel and row) + bias), factor = gate[slot]
struct Pointwise {
    const void* x;       // N × in_height × in_width × channels
    const void* weight;  // channels × outputs
    const float* bias;   // outputs
    const float* gate;   // N × 4; runs where the factor is positive
    void* out;           // N × height × width × outputs
    int in_height, in_width, height, width, channels, outputs;
    int stride, slot;
};

// sums[row] = Σ over that row's pixels of ReLU(pointwise(shrunk x) + bias)
struct GateSums {
    const void* x;       // N × in_height × in_width × channels
    const void* weight;  // channels × outputs
    const float* bias;   // outputs
    Sources sources;
    const int* mode;  // one RouteMode; factors of one need no gate
    float* sums;      // N × rows × outputs
    int in_height, in_width, height, width, channels, outputs;
    int rows, tiles_per_row;   // a row of sums holds this many tiles of pixels
    float step_down, step_across;  // pixels of x per pixel of the shrunk map; 0: not shrunk
};

// gate = record of the factors max(0, tanh(weight · Σ sums / pixels + bias)), masked by the route
struct Decide {
    const float* sums;    // N × rows × inputs; null: factors of one
    const float* weight;  // 3 × inputs
    const float* bias;    // 3
    Sources sources;
    const int* mode;             // one RouteMode
    const unsigned char* route;  // N × 4: which slots a forced route opens
    float* gate;                 // N × 4
    int rows, inputs, pixels;
    int paths;  // bit k: the cell has the path of slot k
};

// map = keep · map + down + bilinear×2(up), each where its source sends it; in place
struct Assemble {
    void* map;         // N × height × width × channels
    const void* down;  // N × height × width × channels
    const void* up;    // N × height/2 × width/2 × channels
    Sources sources;
    int height, width, channels, padding;
};

// out = conv3×3(x) + bias, planar
struct Logits {
    const void* x;       // N × height × width × channels
    const void* weight;  // 9·channels × outputs: the classes, rounded up to a multiple of 16
    const float* bias;   // outputs
    float* out;          // N × classes × height × width
    int height, width, channels, outputs, classes, padding;
};

// out = ReLU(conv3×3, stride 2, no padding (x − mean, zeros beyond its edge) + bias)
struct Stem {
    const void* x;       // N × 3 × in_height × in_width: uint8 or float32
    const void* weight;  // 32 × outputs: rows (row, column, channel) of the window, five rows of zeros
    const float* bias;   // outputs
    const float* mean;   // 3
    void* out;           // N × height × width × outputs
    int in_height, in_width, height, width, outputs, bytes;  // bytes: of a pixel's value, 1 or 4
};

// labels = argmax over classes of the ×4 bilinear enlargement, cropped to out_height × out_width
struct Labels {
    const float* logits;  // N × classes × height × width
    unsigned char* labels;
    int height, width, classes, out_height, out_width, padding;
};

}  // namespace dynroute
