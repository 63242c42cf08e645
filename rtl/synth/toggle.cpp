// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Event-driven simulation of a mapped netlist with cell delays, so that glitches are seen. It replays recorded port
// values cycle by cycle, demands the recorded outputs, and counts the transitions of every net.
//
//   toggle NETLIST RECORD COUNTS
//
// NETLIST, text, one item a line; nets are numbers, 0 and 1 are the constants:
//   nets N
//   in  net                              an input port's bit, in the order of the record
//   out net valid                        an output port's bit; compared only while net `valid` is 1
//   gate out delay table n in...         delay in units of time; truth table as hexadecimal number
//   ff q d enable delay inverts          rising edge of the one clock, only while `enable` is 1; q is !d if `inverts` is 1
//   ram width depth parts re we... waddr_n waddr... wdata... raddr_n raddr... rdata...
// RECORD, text, as tb/hdl/port_recorder.sv writes it: a line a cycle, `count` (1: this cycle counts) and the ports as a
// hexadecimal number, all inputs from the lowest bit on, then all outputs, as they are at the clock edge. Outputs are
// compared while the first input, the active-low reset, is 1.
// COUNTS, text: `cycles n`, `net transitions ones` lines, `ram index reads writes` lines; of the cycles that count.
//
// A pulse shorter than the delay of the gate that would pass it is swallowed (inertial delay).

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Gate {
  int out;
  int delay;
  uint64_t table;
  std::vector<int> in;
};

struct Flop {
  int q, d, enable, delay, inverts;
};

struct Ram {
  int width, depth, parts, re;
  std::vector<int> we, waddr, wdata, raddr, rdata;
  std::vector<uint8_t> mem;
  uint64_t reads = 0, writes = 0;
};

constexpr int kWheel = 1 << 12;  // longest delay in units of time

struct Event {
  int gate;
  uint32_t ticket;
};

class Simulator {
 public:
  bool load(const char* path) {
    std::ifstream file(path);
    std::string line, kind;
    int nets = 0;
    while (std::getline(file, line)) {
      std::istringstream s(line);
      s >> kind;
      if (kind == "nets") {
        s >> nets;
      } else if (kind == "in") {
        int n;
        s >> n;
        inputs_.push_back(n);
      } else if (kind == "out") {
        int n, v;
        s >> n >> v;
        outputs_.push_back(n);
        valids_.push_back(v);
      } else if (kind == "gate") {
        Gate g;
        int n;
        s >> g.out >> g.delay >> std::hex >> g.table >> std::dec >> n;
        g.in.resize(n);
        for (int& i : g.in) s >> i;
        gates_.push_back(g);
      } else if (kind == "ff") {
        Flop f;
        s >> f.q >> f.d >> f.enable >> f.delay >> f.inverts;
        flops_.push_back(f);
      } else if (kind == "ram") {
        Ram r;
        s >> r.width >> r.depth >> r.parts >> r.re;
        auto list = [&](std::vector<int>& v, int n) {
          v.resize(n);
          for (int& i : v) s >> i;
        };
        int n;
        list(r.we, r.parts);
        s >> n;
        list(r.waddr, n);
        list(r.wdata, r.width);
        s >> n;
        list(r.raddr, n);
        list(r.rdata, r.width);
        r.mem.assign(size_t(r.width) * r.depth, 0);
        rams_.push_back(r);
      }
      if (s.fail()) {
        std::cerr << "toggle: bad line: " << line << "\n";
        return false;
      }
    }
    if (nets < 2) return false;
    value_.assign(nets, 0);
    value_[1] = 1;
    for (auto& f : flops_) value_[f.q] = uint8_t(f.inverts);  // all start as if their data had been 0
    toggles_.assign(nets, 0);
    ones_.assign(nets, 0);
    fanout_.resize(nets);
    for (size_t i = 0; i < gates_.size(); i++)
      for (int n : gates_[i].in)
        if (n > 1) fanout_[n].push_back(int(i));
    pending_.assign(gates_.size(), 0);
    target_.assign(gates_.size(), 0);
    wheel_.resize(kWheel);
    driven_.resize(kWheel);
    return true;
  }

  int run(const char* record, const char* counts) {
    std::ifstream file(record);
    if (!file) {
      std::cerr << "toggle: cannot read " << record << "\n";
      return 2;
    }
    const size_t bits = inputs_.size() + outputs_.size();
    std::vector<uint8_t> frame(bits);
    settle_all();
    uint64_t cycles = 0, counted = 0;
    std::string line;
    while (std::getline(file, line)) {
      if (!decode(line, frame)) {
        std::cerr << "toggle: record, line " << cycles + 1 << ": not a frame of " << bits << " bits\n";
        return 2;
      }
      counting_ = line[0] == '1';
      for (size_t i = 0; i < inputs_.size(); i++) drive(inputs_[i], frame[i], 0);
      if (!settle()) return 3;
      for (size_t i = 0; i < outputs_.size() && frame[0]; i++) {
        if (value_[valids_[i]] && value_[outputs_[i]] != frame[inputs_.size() + i]) {
          std::cerr << "toggle: cycle " << cycles << ": output bit " << i << " is " << int(value_[outputs_[i]])
                    << ", recorded was " << int(frame[inputs_.size() + i]) << "\n";
          return 1;
        }
      }
      if (counting_) {
        for (size_t n = 0; n < value_.size(); n++) ones_[n] += value_[n];
        counted++;
      }
      edge();
      cycles++;
    }
    std::ofstream out(counts);
    out << "cycles " << counted << "\n";
    for (size_t n = 2; n < value_.size(); n++)
      if (toggles_[n] || ones_[n]) out << n << " " << toggles_[n] << " " << ones_[n] << "\n";
    for (size_t i = 0; i < rams_.size(); i++)
      out << "ram " << i << " " << rams_[i].reads << " " << rams_[i].writes << "\n";
    return 0;
  }

 private:
  uint8_t eval(const Gate& g) const {
    unsigned i = 0;
    for (size_t j = 0; j < g.in.size(); j++) i |= unsigned(value_[g.in[j]]) << j;
    return g.table >> i & 1;
  }

  // Bits of a line; false unless it is `count hex` with the right number of digits.
  static bool decode(const std::string& line, std::vector<uint8_t>& frame) {
    const size_t digits = (frame.size() + 3) / 4;
    if (line.size() != digits + 2) return false;
    for (size_t d = 0; d < digits; d++) {
      const char c = line[line.size() - 1 - d];
      const int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
      if (v < 0) return false;
      for (size_t b = 0; b < 4 && 4 * d + b < frame.size(); b++) frame[4 * d + b] = v >> b & 1;
    }
    return true;
  }

  // Values before the first cycle: repeat until nothing changes.
  void settle_all() {
    for (int pass = 0; pass < 10000; pass++) {
      bool changed = false;
      for (auto& g : gates_) {
        uint8_t v = eval(g);
        if (v != value_[g.out]) {
          value_[g.out] = v;
          changed = true;
        }
      }
      if (!changed) return;
    }
  }

  void drive(int net, uint8_t v, int delay) {
    driven_[(now_ + delay) & (kWheel - 1)].push_back({net, v});
    left_++;
  }

  void change(int net, uint8_t v) {
    if (value_[net] == v) return;
    value_[net] = v;
    toggles_[net] += counting_;
    for (int g : fanout_[net]) {
      uint8_t nv = eval(gates_[g]);
      uint8_t goal = pending_[g] & 1 ? target_[g] : value_[gates_[g].out];
      if (nv == goal) continue;
      if (pending_[g] & 1) {  // the pending change is taken back
        pending_[g]++;
        if (nv == value_[gates_[g].out]) continue;
      }
      pending_[g]++;
      target_[g] = nv;
      wheel_[(now_ + gates_[g].delay) & (kWheel - 1)].push_back({g, pending_[g]});
      left_++;
    }
  }

  bool settle() {
    uint64_t limit = now_ + 100000;
    while (left_) {
      size_t slot = now_ & (kWheel - 1);
      std::vector<std::pair<int, uint8_t>> driven;
      driven.swap(driven_[slot]);
      left_ -= driven.size();
      for (auto& d : driven) change(d.first, d.second);
      while (!wheel_[slot].empty()) {
        std::vector<Event> now;
        now.swap(wheel_[slot]);
        left_ -= now.size();
        for (auto& e : now) {
          if (pending_[e.gate] != e.ticket) continue;
          pending_[e.gate]++;
          change(gates_[e.gate].out, target_[e.gate]);
        }
      }
      if (++now_ > limit) {
        std::cerr << "toggle: the netlist does not settle\n";
        return false;
      }
    }
    return true;
  }

  void edge() {
    std::vector<std::pair<int, uint8_t>> next;
    for (auto& f : flops_)
      if (value_[f.enable] && value_[f.q] != (value_[f.d] ^ f.inverts)) drive(f.q, value_[f.d] ^ f.inverts, f.delay);
    for (auto& r : rams_) {
      auto number = [&](const std::vector<int>& v) {
        size_t a = 0;
        for (size_t i = 0; i < v.size(); i++) a |= size_t(value_[v[i]]) << i;
        return a;
      };
      if (value_[r.re]) {
        r.reads += counting_;
        size_t a = number(r.raddr);
        for (int b = 0; b < r.width; b++) {
          uint8_t v = a < size_t(r.depth) ? r.mem[a * r.width + b] : 0;
          if (value_[r.rdata[b]] != v) next.push_back({r.rdata[b], v});
        }
      }
      size_t a = number(r.waddr);
      int w = r.width / r.parts;
      bool any = false;
      for (int p = 0; p < r.parts; p++) {
        if (!value_[r.we[p]] || a >= size_t(r.depth)) continue;
        any = true;
        for (int b = 0; b < w; b++) r.mem[a * r.width + p * w + b] = value_[r.wdata[p * w + b]];
      }
      r.writes += any && counting_;
    }
    for (auto& n : next) drive(n.first, n.second, 200);  // an access
  }

  std::vector<int> inputs_, outputs_, valids_;
  std::vector<Gate> gates_;
  std::vector<Flop> flops_;
  std::vector<Ram> rams_;
  std::vector<uint8_t> value_;
  std::vector<uint64_t> toggles_, ones_;
  std::vector<std::vector<int>> fanout_;
  std::vector<uint32_t> pending_;  // odd: a change is on its way; its ticket
  std::vector<uint8_t> target_;
  std::vector<std::vector<Event>> wheel_;
  std::vector<std::vector<std::pair<int, uint8_t>>> driven_;
  uint64_t now_ = 0;
  bool counting_ = false;
  size_t left_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: toggle NETLIST RECORD COUNTS\n";
    return 2;
  }
  Simulator simulator;
  if (!simulator.load(argv[1])) {
    std::cerr << "toggle: cannot use " << argv[1] << "\n";
    return 2;
  }
  return simulator.run(argv[2], argv[3]);
}
