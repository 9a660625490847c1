// What the two parts of the command line share: arguments, files and the run. `main.cpp` reads the command line and
// samples; `approximate.cpp` has the methods that approximate. They are two files so that they compile side by side.

#ifndef GENARIUM_COMMAND_HPP
#define GENARIUM_COMMAND_HPP

#include <stan/model/model_header.hpp>

#include <stan/callbacks/interrupt.hpp>
#include <stan/callbacks/logger.hpp>
#include <stan/callbacks/structured_writer.hpp>
#include <stan/callbacks/unique_stream_writer.hpp>
#include <stan/callbacks/writer.hpp>
#include <stan/io/empty_var_context.hpp>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <limits>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace command {

using Model = stan::model::model_base;
using Context = stan::io::var_context;
using Contexts = std::vector<std::shared_ptr<Context>>;
using FileWriter = stan::callbacks::unique_stream_writer<std::ofstream>;

/// Anything the user has to be told; `main` prints it and exits with status 1.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// ---------------------------------------------------------------------------------------------------------------------
// Arguments: a tree of options, groups and choices.
//
//   option  key=value                      refresh=100
//   group   key, then its own options      output refresh=100
//   choice  key=name or just name, then    algorithm=hmc stepsize=1
//           the options of that name
// ---------------------------------------------------------------------------------------------------------------------

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Node {
  enum class Kind { group, choice, integer, real, boolean, text };

  Kind kind;
  std::string key;
  std::string value;
  double low = -kInfinity;
  double high = kInfinity;
  bool open = false;  // the bounds themselves are excluded
  std::vector<Node> children;
  bool given = false;

  /// The child called `name` of a group.
  const Node& operator[](const std::string& name) const {
    for (const auto& child : children) {
      if (child.key == name) {
        return child;
      }
    }
    throw std::logic_error("no argument " + name + " in " + key);
  }
  Node& operator[](const std::string& name) { return const_cast<Node&>(std::as_const(*this)[name]); }

  /// The alternative selected in a choice.
  const Node& chosen() const { return (*this)[value]; }

  const std::string& text() const { return value; }
  bool flag() const { return value == "true"; }
  double real() const { return std::strtod(value.c_str(), nullptr); }
  int integer() const { return static_cast<int>(real()); }
  unsigned int natural() const { return static_cast<unsigned int>(real()); }

  /// Check a value given by the user and keep it.
  void set(const std::string& given_value) {
    if (given) {
      throw Fault("argument '" + key + "' is given twice");
    }
    given = true;
    value = given_value;
    switch (kind) {
      case Kind::boolean:
        if (value != "0" && value != "1" && value != "false" && value != "true") {
          reject("0, 1, false or true");
        }
        value = (value == "1" || value == "true") ? "true" : "false";
        break;
      case Kind::integer:
        if (value.find_first_not_of("0123456789", value[0] == '-' ? 1 : 0) != std::string::npos) {
          reject("an integer");
        }
        check_number();
        break;
      case Kind::real:
        check_number();
        break;
      default:
        break;
    }
  }

  void select(const std::string& name) {
    if (given) {
      throw Fault("'" + key + "' is given twice: " + value + " and " + name);
    }
    given = true;
    value = name;
  }

 private:
  void check_number() const {
    char* end = nullptr;
    errno = 0;
    const double number = std::strtod(value.c_str(), &end);
    if (value.empty() || *end != '\0' || errno == ERANGE || !std::isfinite(number)) {
      reject("a number");
    }
    const bool inside = open ? (number > low && number < high) : (number >= low && number <= high);
    if (!inside) {
      std::ostringstream range;
      range << std::setprecision(12) << (open ? "> " : ">= ") << low;
      if (!std::isinf(high)) {
        range << " and " << (open ? "< " : "<= ") << high;
      }
      reject(range.str());
    }
  }

  [[noreturn]] void reject(const std::string& expected) const {
    throw Fault("argument '" + key + "' must be " + expected + ", not '" + value + "'");
  }
};

Contexts read_json_per_chain(const std::string& path, unsigned int first, unsigned int count);

/// One set of parameter values on the unconstrained scale.
using Point = Eigen::VectorXd;

/// Points from values on the constrained scale: one from a .json file, one a row from a .csv file.
std::vector<Point> read_constrained(const Model& model, const std::string& path);

FileWriter open_output(const std::string& path, const Node& args, const Model& model);

/// Whole lines to the console, from any thread.
class Console final : public stan::callbacks::logger {
 public:
  void debug(const std::string&) override {}
  void debug(const std::stringstream&) override {}
  void info(const std::string& message) override { write(message); }
  void info(const std::stringstream& message) override { write(message.str()); }
  void warn(const std::string& message) override { write(message); }
  void warn(const std::stringstream& message) override { write(message.str()); }
  void error(const std::string& message) override { write(message, true); }
  void error(const std::stringstream& message) override { write(message.str(), true); }
  void fatal(const std::string& message) override { write(message, true); }
  void fatal(const std::stringstream& message) override { write(message.str(), true); }

  /// The last message of an error, the likely reason where a method fails. Rejected proposals are reported as errors
  /// too: a message alone does not mean failure.
  const std::string& reason() const { return reason_; }

 private:
  void write(const std::string& message, bool is_error = false) {
    const std::lock_guard<std::mutex> hold(lock_);
    std::cout << message << std::endl;
    if (is_error && !message.empty()) {
      reason_ = message;
    }
  }
  std::mutex lock_;
  std::string reason_;
};

/// What every method works with.
struct Run {
  const Node& args;
  const Node& method;
  Model& model;
  unsigned int seed;
  unsigned int id;
  int refresh;
  Console console;
  stan::callbacks::interrupt interrupt;
  stan::callbacks::writer ignored;
  std::unique_ptr<FileWriter> writer;

  /// The output file of every method but sample, which has one for each chain.
  FileWriter& output() {
    writer = std::make_unique<FileWriter>(open_output(args["output"]["file"].text(), args, model));
    return *writer;
  }

  FileWriter diagnostics() const {
    const std::string& path = args["output"]["diagnostic_file"].text();
    return path.empty() ? FileWriter() : open_output(path, args, model);
  }
};

/// Initial values: `init` is the half-width of an interval around zero, or a file.
struct Inits {
  double radius = 2;
  Contexts contexts;

  Inits(const Run& run, unsigned int count) {
    const std::string& init = run.args["init"].text();
    char* end = nullptr;
    const double number = std::strtod(init.c_str(), &end);
    if (!init.empty() && *end == '\0') {
      if (!std::isfinite(number) || number < 0) {
        throw Fault("argument 'init' must be a number >= 0 or a .json file, not '" + init + "'");
      }
      radius = number;
      contexts = Contexts(count, std::make_shared<stan::io::empty_var_context>());
    } else {
      contexts = read_json_per_chain(init, run.id, count);
    }
  }
};

int variational(Run& run);
int pathfinder(Run& run);
template <bool jacobian>
int laplace(Run& run);

}  // namespace command

#endif
