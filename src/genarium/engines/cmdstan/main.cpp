// A command line for one compiled Stan program, over the algorithms in <stan/services>.
//
// The program made from this file and a Stan program answers the command lines that cmdstanpy composes and writes the
// CSV files that cmdstanpy reads. It is strict: an unknown or misplaced argument, a value out of range and a file that
// does not fit the program are errors, written to the console with exit status 1. Nothing is ignored silently.
//
//     program [id=1] [init=2] [num_threads=4] [random seed=1] [data file=d.json] [output file=o.csv] method=sample ...
//     program info
//
// The accepted arguments are the table in `arguments()` below.

#include "command.hpp"

#include <stan/io/json/json_data.hpp>
#include <stan/math/prim/core/init_threadpool_tbb.hpp>
#include <stan/model/log_prob_grad.hpp>
#include <stan/services/optimize/bfgs.hpp>
#include <stan/services/optimize/lbfgs.hpp>
#include <stan/services/optimize/newton.hpp>
#include <stan/services/sample/fixed_param.hpp>
#include <stan/services/sample/hmc_nuts_dense_e.hpp>
#include <stan/services/sample/hmc_nuts_dense_e_adapt.hpp>
#include <stan/services/sample/hmc_nuts_diag_e.hpp>
#include <stan/services/sample/hmc_nuts_diag_e_adapt.hpp>
#include <stan/services/sample/hmc_nuts_unit_e.hpp>
#include <stan/services/sample/hmc_nuts_unit_e_adapt.hpp>
#include <stan/services/sample/standalone_gqs.hpp>
#include <stan/version.hpp>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <random>
#include <sstream>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

// Defined by the C++ code that stanc makes from the Stan program.
stan::model::model_base& new_model(stan::io::var_context& data, unsigned int seed, std::ostream* messages);

namespace command {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) {
    text += (text.empty() ? "" : ", ") + word;
  }
  return text;
}

Node group(const std::string& key, std::vector<Node> children) {
  return Node{Node::Kind::group, key, "", -kInfinity, kInfinity, false, std::move(children)};
}
Node choice(const std::string& key, const std::string& value, std::vector<Node> children) {
  return Node{Node::Kind::choice, key, value, -kInfinity, kInfinity, false, std::move(children)};
}
Node integer(const std::string& key, const std::string& value, double low, double high = 2147483647) {
  return Node{Node::Kind::integer, key, value, low, high, false, {}};
}
/// A real number strictly between the bounds.
Node positive(const std::string& key, const std::string& value, double high = kInfinity) {
  return Node{Node::Kind::real, key, value, 0, high, true, {}};
}
/// A real number between the bounds, which are allowed.
Node nonnegative(const std::string& key, const std::string& value, double high = kInfinity) {
  return Node{Node::Kind::real, key, value, 0, high, false, {}};
}
Node boolean(const std::string& key, const std::string& value) {
  return Node{Node::Kind::boolean, key, value, -kInfinity, kInfinity, false, {}};
}
Node text(const std::string& key, const std::string& value = "") {
  return Node{Node::Kind::text, key, value, -kInfinity, kInfinity, false, {}};
}

/// The tolerances of the line-search optimizers, in optimization and in Pathfinder.
std::vector<Node> line_search(bool limited_memory) {
  std::vector<Node> options = {positive("init_alpha", "0.001"),      nonnegative("tol_obj", "1e-12"),
                               nonnegative("tol_rel_obj", "10000"),  nonnegative("tol_grad", "1e-8"),
                               nonnegative("tol_rel_grad", "1e+07"), nonnegative("tol_param", "1e-8")};
  if (limited_memory) {
    options.push_back(integer("history_size", "5", 1));
  }
  return options;
}

std::vector<Node> operator+(std::vector<Node> first, const std::vector<Node>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// Every argument there is, with its default and its range.
Node arguments() {
  const Node sample = group(
      "sample",
      {integer("num_samples", "1000", 0), integer("num_warmup", "1000", 0), boolean("save_warmup", "false"),
       integer("thin", "1", 1),
       group("adapt", {boolean("engaged", "true"), positive("gamma", "0.05"), positive("delta", "0.8", 1),
                       positive("kappa", "0.75"), positive("t0", "10"), integer("init_buffer", "75", 0),
                       integer("term_buffer", "50", 0), integer("window", "25", 0)}),
       choice("algorithm", "hmc",
              {group("hmc",
                     {choice("engine", "nuts", {group("nuts", {integer("max_depth", "10", 1)})}),
                      choice("metric", "diag_e", {group("diag_e", {}), group("dense_e", {}), group("unit_e", {})}),
                      text("metric_file"), positive("stepsize", "1"), nonnegative("stepsize_jitter", "0", 1)}),
               group("fixed_param", {})}),
       integer("num_chains", "1", 1)});
  const Node optimize = group(
      "optimize",
      {choice("algorithm", "lbfgs",
              {group("bfgs", line_search(false)), group("lbfgs", line_search(true)), group("newton", {})}),
       boolean("jacobian", "false"), integer("iter", "2000", 1), boolean("save_iterations", "false")});
  const Node variational = group(
      "variational",
      {choice("algorithm", "meanfield", {group("meanfield", {}), group("fullrank", {})}), integer("iter", "10000", 1),
       integer("grad_samples", "1", 1), integer("elbo_samples", "100", 1), positive("eta", "1"),
       group("adapt", {boolean("engaged", "true"), integer("iter", "50", 1)}), positive("tol_rel_obj", "0.01"),
       integer("eval_elbo", "100", 1), integer("output_samples", "1000", 1)});
  const Node pathfinder = group(
      "pathfinder", line_search(true) + std::vector<Node>{integer("num_psis_draws", "1000", 1),
                                                          integer("num_paths", "4", 1),
                                                          boolean("psis_resample", "true"),
                                                          boolean("calculate_lp", "true"),
                                                          integer("max_lbfgs_iters", "1000", 1),
                                                          integer("num_draws", "1000", 1),
                                                          integer("num_elbo_draws", "25", 1)});
  const Node laplace = group("laplace", {text("mode"), boolean("jacobian", "true"), integer("draws", "1000", 1),
                                         boolean("calculate_lp", "true")});
  const Node generate_quantities = group("generate_quantities", {text("fitted_params")});
  const Node log_prob =
      group("log_prob", {text("unconstrained_params"), text("constrained_params"), boolean("jacobian", "true")});
  return group("", {choice("method", "", {sample, optimize, variational, pathfinder, laplace, generate_quantities,
                                          log_prob}),
                    integer("id", "1", 0), group("data", {text("file")}), text("init", "2"),
                    group("random", {integer("seed", "", 0, 4294967295.0)}),
                    group("output", {text("file", "output.csv"), text("diagnostic_file"), integer("refresh", "100", 0),
                                     integer("sig_figs", "8", 1, 18)}),
                    integer("num_threads", "0", -1)});
}

/// Read the command line into the tree. Each word belongs to the innermost open group that knows it.
void parse(Node& root, const std::vector<std::string>& words) {
  std::vector<Node*> open = {&root};
  for (const auto& word : words) {
    const auto equal = word.find('=');
    const bool has_value = equal != std::string::npos;
    const std::string key = word.substr(0, equal);
    const std::string value = has_value ? word.substr(equal + 1) : "";

    // Where the word belongs: its node, or the choice of which it names an alternative.
    Node* match = nullptr;
    bool names_alternative = false;
    auto known = open.size();
    while (match == nullptr && known > 0) {
      for (auto& child : open[known - 1]->children) {
        if (child.key == key) {
          match = &child;
        } else if (!has_value && child.kind == Node::Kind::choice) {
          for (const auto& alternative : child.children) {
            if (alternative.key == key) {
              match = &child;
              names_alternative = true;
            }
          }
        }
      }
      --known;
    }
    if (match == nullptr) {
      std::vector<std::string> expected;
      for (auto scope = open.rbegin(); scope != open.rend(); ++scope) {
        for (const auto& child : (*scope)->children) {
          expected.push_back(child.key);
        }
      }
      throw Fault("unknown argument '" + word + "'; known here: " + joined(expected));
    }
    open.resize(known + 1);

    if (match->kind == Node::Kind::group) {
      if (has_value) {
        throw Fault("'" + key + "' takes no value; its arguments follow it: " + key + " <argument>=<value>");
      }
      open.push_back(match);
    } else if (match->kind == Node::Kind::choice) {
      const std::string& name = names_alternative ? key : value;
      std::vector<std::string> names;
      for (auto& alternative : match->children) {
        names.push_back(alternative.key);
        if (alternative.key == name) {
          match->select(name);
          open.push_back(&alternative);
        }
      }
      if (!match->given || match->value != name) {
        throw Fault("'" + word + "' is not supported; '" + match->key + "' is one of: " + joined(names));
      }
    } else {
      if (!has_value) {
        throw Fault("argument '" + key + "' needs a value: " + key + "=<value>");
      }
      match->set(value);
    }
  }
  if (!root["method"].given) {
    std::vector<std::string> names;
    for (const auto& method : root["method"].children) {
      names.push_back(method.key);
    }
    throw Fault("no method given; one of: " + joined(names));
  }
}

/// The arguments in force, as the comment block that heads every output file.
void describe(const Node& node, int depth, std::ostream& out) {
  const std::string indent = "# " + std::string(2 * depth, ' ');
  const std::string mark = node.given ? "" : " (Default)";
  if (node.kind == Node::Kind::group) {
    if (node.children.empty()) {
      return;
    }
    out << indent << node.key << '\n';
    for (const auto& child : node.children) {
      describe(child, depth + 1, out);
    }
  } else {
    out << indent << node.key << " = " << node.value << mark << '\n';
    if (node.kind == Node::Kind::choice) {
      describe(node.chosen(), depth + 1, out);
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Input files
// ---------------------------------------------------------------------------------------------------------------------

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::ifstream open_input(const std::string& path) {
  std::ifstream in(path);
  if (!in.good()) {
    throw Fault("cannot read file '" + path + "'");
  }
  return in;
}

std::shared_ptr<Context> read_json(const std::string& path) {
  if (!ends_with(path, ".json")) {
    throw Fault("file '" + path + "' is not supported: values are read from .json files");
  }
  std::ifstream in = open_input(path);
  try {
    return std::make_shared<stan::json::json_data>(in);
  } catch (const std::exception& error) {
    throw Fault("file '" + path + "': " + error.what());
  }
}

/// "a.csv" and 3 make "a_3.csv".
std::string numbered(const std::string& path, unsigned int number) {
  const auto slash = path.find_last_of('/');
  const auto dot = path.find_last_of('.');
  const auto stem = (dot == std::string::npos || (slash != std::string::npos && dot < slash)) ? path.size() : dot;
  return path.substr(0, stem) + "_" + std::to_string(number) + path.substr(stem);
}

/// One context a chain: the same file for all, or where there is no such file, the numbered files beside it.
Contexts read_json_per_chain(const std::string& path, unsigned int first, unsigned int count) {
  if (count == 1 || std::ifstream(path).good()) {
    return Contexts(count, read_json(path));
  }
  Contexts contexts;
  for (unsigned int i = 0; i < count; ++i) {
    contexts.push_back(read_json(numbered(path, first + i)));
  }
  return contexts;
}

/// The parameters' columns, found by name, of every row of a CSV file that a method wrote.
///
/// Columns such as lp__, converged__ or path__ come before the parameters, how many depends on the method and on the
/// Stan version; transformed parameters and generated quantities come after them.
Eigen::MatrixXd read_parameters_csv(const Model& model, const std::string& path) {
  std::ifstream in = open_input(path);
  std::vector<std::string> header;
  std::vector<std::size_t> columns;
  std::vector<std::string> names;
  model.constrained_param_names(names, false, false);
  std::vector<std::vector<double>> rows;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.empty() || line[0] == '#') {
      continue;
    }
    std::vector<std::string> cells;
    std::string cell;
    for (std::istringstream stream(line); std::getline(stream, cell, ',');) {
      const auto first = cell.find_first_not_of(" \t\r");
      const auto last = cell.find_last_not_of(" \t\r");
      cells.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
    }
    if (header.empty()) {
      header = cells;
      for (const auto& name : names) {
        const auto found = std::find(header.begin(), header.end(), name);
        if (found == header.end()) {
          throw Fault("file '" + path + "' has no column for the parameter '" + name + "' of this program");
        }
        columns.push_back(found - header.begin());
      }
      continue;
    }
    if (cells.size() != header.size()) {
      throw Fault("file '" + path + "', line " + std::to_string(number) + ": " + std::to_string(cells.size())
                  + " values for " + std::to_string(header.size()) + " columns");
    }
    std::vector<double> row;
    for (const auto column : columns) {
      char* end = nullptr;
      row.push_back(std::strtod(cells[column].c_str(), &end));
      if (cells[column].empty() || *end != '\0') {
        throw Fault("file '" + path + "', line " + std::to_string(number) + ": '" + cells[column]
                    + "' is not a number");
      }
    }
    rows.push_back(row);
  }
  if (rows.empty()) {
    throw Fault("file '" + path + "' holds no draws");
  }
  Eigen::MatrixXd values(rows.size(), names.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = 0; j < names.size(); ++j) {
      values(i, j) = rows[i][j];
    }
  }
  return values;
}

Point unconstrained(const Model& model, const Eigen::VectorXd& constrained) {
  Point point;
  std::ostringstream messages;
  model.unconstrain_array(constrained, point, &messages);
  return point;
}

/// Points from values on the constrained scale: one from a .json file, one a row from a .csv file.
std::vector<Point> read_constrained(const Model& model, const std::string& path) {
  std::vector<Point> points;
  if (ends_with(path, ".csv")) {
    const Eigen::MatrixXd values = read_parameters_csv(model, path);
    for (Eigen::Index i = 0; i < values.rows(); ++i) {
      points.push_back(unconstrained(model, values.row(i)));
    }
  } else {
    Point point;
    model.transform_inits(*read_json(path), point, &std::cout);
    points.push_back(point);
  }
  return points;
}

/// Points from the variable "params_r" of a .json file: a list of numbers, or a list of such lists.
std::vector<Point> read_unconstrained(const Model& model, const std::string& path) {
  const auto context = read_json(path);
  const std::vector<std::size_t> dims = context->dims_r("params_r");
  const std::size_t size = model.num_params_r();
  if (!context->contains_r("params_r") || dims.empty() || dims.size() > 2 || dims.back() != size) {
    throw Fault("file '" + path + "' must hold 'params_r': a list of " + std::to_string(size)
                + " numbers, or a list of such lists");
  }
  const std::vector<double> values = context->vals_r("params_r");  // column-major
  const std::size_t count = dims.size() == 2 ? dims[0] : 1;
  std::vector<Point> points(count, Point(size));
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = 0; j < size; ++j) {
      points[i](j) = values[i + j * count];
    }
  }
  return points;
}

// ---------------------------------------------------------------------------------------------------------------------
// Output: console messages and CSV files
// ---------------------------------------------------------------------------------------------------------------------

void write_versions(std::ostream& out, const std::string& prefix) {
  out << prefix << "stan_version_major = " << STAN_MAJOR << '\n'
      << prefix << "stan_version_minor = " << STAN_MINOR << '\n'
      << prefix << "stan_version_patch = " << STAN_PATCH << '\n';
}

FileWriter open_output(const std::string& path, const Node& args, const Model& model) {
  auto out = std::make_unique<std::ofstream>(path);
  if (!out->good()) {
    throw Fault("cannot write file '" + path + "'");
  }
  *out << std::setprecision(args["output"]["sig_figs"].integer());
  write_versions(*out, "# ");
  const std::time_t now = std::time(nullptr);
  *out << "# model = " << model.model_name() << '\n'
       << "# start_datetime = " << std::put_time(std::gmtime(&now), "%Y-%m-%d %H:%M:%S UTC") << '\n';
  for (const auto& child : args.children) {
    describe(child, 0, *out);
  }
  for (const auto& line : model.model_compile_info()) {
    *out << "# " << line << '\n';
  }
  return FileWriter(std::move(out), "# ");
}

void check_written(FileWriter& writer, const std::string& path) {
  if (!writer.get_stream().flush().good()) {
    throw Fault("file '" + path + "' could not be written to its end");
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Methods. Each returns the status of the algorithm, 0 for success.
// ---------------------------------------------------------------------------------------------------------------------

/// The inverse metric each chain starts from: the user's file, or the unit metric.
Contexts inverse_metrics(const Run& run, const Node& hmc, unsigned int chains) {
  const std::string& path = hmc["metric_file"].text();
  const std::string& metric = hmc["metric"].text();
  if (!path.empty()) {
    if (metric == "unit_e") {
      throw Fault("'metric_file' does not go with metric=unit_e");
    }
    return read_json_per_chain(path, run.id, chains);
  }
  const auto size = run.model.num_params_r();
  if (metric == "dense_e") {
    return Contexts(chains, std::make_shared<stan::io::array_var_context>(
                                stan::services::util::create_unit_e_dense_inv_metric(size)));
  }
  return Contexts(chains, std::make_shared<stan::io::array_var_context>(
                              stan::services::util::create_unit_e_diag_inv_metric(size)));
}

/// Call `function` with the elements of the tuples, in order.
template <typename Function, typename... Tuples>
int call(const Function& function, const Tuples&... tuples) {
  return std::apply(function, std::tuple_cat(tuples...));
}

/// Chains of NUTS with or without adaptation, or of the fixed-parameter sampler, in threads of this process.
int sample(Run& run) {
  namespace service = stan::services::sample;
  const Node& algorithm = run.method["algorithm"].chosen();
  const Node& adapt = run.method["adapt"];
  const std::size_t chains = run.method["num_chains"].natural();
  const Inits inits(run, chains);
  const Contexts metrics = algorithm.key == "fixed_param" ? Contexts() : inverse_metrics(run, algorithm, chains);

  std::vector<stan::callbacks::writer> init_writers(chains);
  std::vector<stan::callbacks::structured_writer> metric_writers(chains);
  std::vector<FileWriter> sample_writers;
  std::vector<FileWriter> diagnostic_writers;
  std::vector<std::streampos> starts;
  for (std::size_t i = 0; i < chains; ++i) {
    Node args = run.args;
    args["id"].value = std::to_string(run.id + i);
    const auto path = [&](const std::string& base) { return chains == 1 ? base : numbered(base, run.id + i); };
    sample_writers.push_back(open_output(path(args["output"]["file"].text()), args, run.model));
    starts.push_back(sample_writers.back().get_stream().tellp());
    const std::string& diagnostic = args["output"]["diagnostic_file"].text();
    diagnostic_writers.push_back(diagnostic.empty() ? FileWriter() : open_output(path(diagnostic), args, run.model));
  }
  const int warmup = run.method["num_warmup"].integer();
  const int samples = run.method["num_samples"].integer();
  const int thin = run.method["thin"].integer();
  const bool save_warmup = run.method["save_warmup"].flag();

  // The arguments of the services, in groups that they take in this order.
  auto target = std::tie(run.model, chains, inits.contexts);
  auto start = std::tie(run.seed, run.id, inits.radius);
  auto writers = std::tie(run.interrupt, run.console, init_writers, sample_writers, diagnostic_writers);

  int status = 0;
  if (algorithm.key == "fixed_param") {
    auto schedule = std::tie(samples, thin, run.refresh);
    status = call([](auto&... a) { return service::fixed_param(a...); }, target, start, schedule, writers);
  } else {
    const std::string& metric = algorithm["metric"].text();
    auto target_and_metric = std::tie(run.model, chains, inits.contexts, metrics);

    const double stepsize = algorithm["stepsize"].real();
    const double jitter = algorithm["stepsize_jitter"].real();
    const int depth = algorithm["engine"].chosen()["max_depth"].integer();
    auto schedule = std::tie(warmup, samples, thin, save_warmup, run.refresh, stepsize, jitter, depth);

    const double delta = adapt["delta"].real();
    const double gamma = adapt["gamma"].real();
    const double kappa = adapt["kappa"].real();
    const double t0 = adapt["t0"].real();
    auto step_adaptation = std::tie(delta, gamma, kappa, t0);
    const unsigned int init_buffer = adapt["init_buffer"].natural();
    const unsigned int term_buffer = adapt["term_buffer"].natural();
    const unsigned int window = adapt["window"].natural();
    auto metric_adaptation = std::tie(init_buffer, term_buffer, window);
    auto tuning = std::tie(metric_writers);

    if (adapt["engaged"].flag()) {
      if (metric == "diag_e") {
        status = call([](auto&... a) { return service::hmc_nuts_diag_e_adapt(a...); }, target_and_metric, start,
                      schedule, step_adaptation, metric_adaptation, writers, tuning);
      } else if (metric == "dense_e") {
        status = call([](auto&... a) { return service::hmc_nuts_dense_e_adapt(a...); }, target_and_metric, start,
                      schedule, step_adaptation, metric_adaptation, writers, tuning);
      } else {
        status = call([](auto&... a) { return service::hmc_nuts_unit_e_adapt(a...); }, target, start, schedule,
                      step_adaptation, writers, tuning);
      }
    } else if (metric == "diag_e") {
      status = call([](auto&... a) { return service::hmc_nuts_diag_e(a...); }, target_and_metric, start, schedule,
                    writers);
    } else if (metric == "dense_e") {
      status = call([](auto&... a) { return service::hmc_nuts_dense_e(a...); }, target_and_metric, start, schedule,
                    writers);
    } else {
      status = call([](auto&... a) { return service::hmc_nuts_unit_e(a...); }, target, start, schedule, writers);
    }
  }
  // A chain for which no first step size is found ends with status 0 and writes nothing.
  for (std::size_t i = 0; i < chains; ++i) {
    check_written(sample_writers[i], run.args["output"]["file"].text());
    if (sample_writers[i].get_stream().tellp() == starts[i]) {
      status = 1;
    }
  }
  return status;
}

template <bool jacobian>
int optimize(Run& run) {
  namespace service = stan::services::optimize;
  const Node& algorithm = run.method["algorithm"].chosen();
  const int iterations = run.method["iter"].integer();
  const bool save = run.method["save_iterations"].flag();
  const Inits inits(run, 1);
  FileWriter& output = run.output();
  if (algorithm.key == "newton") {
    return service::newton<Model, jacobian>(run.model, *inits.contexts[0], run.seed, run.id, inits.radius, iterations,
                                            save, run.interrupt, run.console, run.ignored, output);
  }
  const double alpha = algorithm["init_alpha"].real();
  const double tol_obj = algorithm["tol_obj"].real();
  const double tol_rel_obj = algorithm["tol_rel_obj"].real();
  const double tol_grad = algorithm["tol_grad"].real();
  const double tol_rel_grad = algorithm["tol_rel_grad"].real();
  const double tol_param = algorithm["tol_param"].real();
  if (algorithm.key == "bfgs") {
    return service::bfgs<Model, jacobian>(run.model, *inits.contexts[0], run.seed, run.id, inits.radius, alpha, tol_obj,
                                          tol_rel_obj, tol_grad, tol_rel_grad, tol_param, iterations, save, run.refresh,
                                          run.interrupt, run.console, run.ignored, output);
  }
  return service::lbfgs<Model, jacobian>(run.model, *inits.contexts[0], run.seed, run.id, inits.radius,
                                         algorithm["history_size"].integer(), alpha, tol_obj, tol_rel_obj, tol_grad,
                                         tol_rel_grad, tol_param, iterations, save, run.refresh, run.interrupt,
                                         run.console, run.ignored, output);
}

/// Every row of the fitted parameters is used, warmup draws included: that is what cmdstanpy expects.
int generate_quantities(Run& run) {
  const std::string& path = run.method["fitted_params"].text();
  if (path.empty()) {
    throw Fault("method=generate_quantities needs fitted_params=<file>");
  }
  const Eigen::MatrixXd draws = read_parameters_csv(run.model, path);
  FileWriter& output = run.output();
  return stan::services::standalone_generate(run.model, draws, run.seed, run.interrupt, run.console, output);
}

/// The log density as lp__ reports it (without constants that ~ statements drop) and its gradient, on the
/// unconstrained scale.
template <bool jacobian>
int log_prob(Run& run) {
  const std::string& constrained = run.method["constrained_params"].text();
  const std::string& free = run.method["unconstrained_params"].text();
  if (constrained.empty() == free.empty()) {
    throw Fault("method=log_prob needs one of constrained_params=<file> and unconstrained_params=<file>");
  }
  const auto points = free.empty() ? read_constrained(run.model, constrained) : read_unconstrained(run.model, free);
  std::vector<std::string> parameters;
  run.model.unconstrained_param_names(parameters, false, false);
  std::vector<std::string> names = {"lp__"};
  for (const auto& parameter : parameters) {
    names.push_back("g_" + parameter);
  }
  FileWriter& output = run.output();
  output(names);
  for (Point point : points) {
    Eigen::VectorXd gradient;
    const double lp = stan::model::log_prob_grad<true, jacobian>(run.model, point, gradient, &std::cout);
    std::vector<double> row = {lp};
    row.insert(row.end(), gradient.data(), gradient.data() + gradient.size());
    output(row);
  }
  return 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// One run
// ---------------------------------------------------------------------------------------------------------------------

/// Combinations of arguments that are each valid alone.
void check_combinations(const Node& root) {
  const Node& method = root["method"].chosen();
  if (method.key == "sample") {
    const bool fixed = method["algorithm"].text() == "fixed_param";
    for (const auto& option : method["adapt"].children) {
      if (fixed && option.given) {
        throw Fault("'adapt " + option.key + "' does not go with algorithm=fixed_param");
      }
    }
    if (!fixed && method["adapt"]["engaged"].flag() && method["num_warmup"].integer() == 0) {
      throw Fault("adaptation needs warmup iterations: give num_warmup > 0 or adapt engaged=0");
    }
  } else if (root["output"]["diagnostic_file"].given && method.key != "variational") {
    throw Fault("'diagnostic_file' does not go with method=" + method.key);
  }
  const bool starts_elsewhere
      = method.key == "laplace" || method.key == "generate_quantities" || method.key == "log_prob";
  if (root["init"].given && starts_elsewhere) {
    throw Fault("'init' does not go with method=" + method.key);
  }
  if (root["num_threads"].given && root["num_threads"].integer() == 0) {
    throw Fault("argument 'num_threads' must be -1 (all cores) or > 0, not '0'");
  }
}

int run_method(Run& run) {
  const std::string& name = run.method.key;
  const auto jacobian = [&] { return run.method["jacobian"].flag(); };
  if (name == "sample") {
    return sample(run);
  }
  if (name == "generate_quantities") {
    return generate_quantities(run);
  }
  if (run.model.num_params_r() == 0) {
    throw Fault("method=" + name + " needs parameters, and the program has none");
  }
  if (name == "optimize") {
    return jacobian() ? optimize<true>(run) : optimize<false>(run);
  }
  if (name == "variational") {
    return variational(run);
  }
  if (name == "pathfinder") {
    return pathfinder(run);
  }
  if (name == "laplace") {
    return jacobian() ? laplace<true>(run) : laplace<false>(run);
  }
  return jacobian() ? log_prob<true>(run) : log_prob<false>(run);
}

int run(const std::vector<std::string>& words) {
  Node args = arguments();
  parse(args, words);
  check_combinations(args);
  Node& seed = args["random"]["seed"];
  if (!seed.given) {
    seed.value = std::to_string(std::random_device{}());
  }
  stan::math::init_threadpool_tbb(args["num_threads"].integer());  // 0: from STAN_NUM_THREADS, else 1

  const std::string& data_file = args["data"]["file"].text();
  const std::shared_ptr<Context> data
      = data_file.empty() ? std::make_shared<stan::io::empty_var_context>() : read_json(data_file);
  const std::unique_ptr<Model> model(&new_model(*data, seed.natural(), &std::cout));

  Node& method = args["method"][args["method"].text()];
  if (method.key == "sample" && model->num_params_r() == 0 && method["algorithm"].text() != "fixed_param") {
    std::cout << "The program has no parameters: running fixed_param sampler" << std::endl;
    method["algorithm"].value = "fixed_param";
  }

  const std::string& output = args["output"]["file"].text();
  const int refresh = args["output"]["refresh"].integer();
  Run job{args, method, *model, seed.natural(), args["id"].natural(), refresh, {}, {}, {}, {}};
  int status = 0;
  try {
    status = run_method(job);
    if (job.writer) {
      check_written(*job.writer, output);
    }
  } catch (const std::exception& error) {
    job.console.error(std::string(error.what()));
    status = 1;
  }
  if (status != 0) {
    std::cout << "Error: method=" << method.key << " failed: " << job.console.reason() << std::endl;
    // cmdstanpy takes what it finds for the result of these methods; it knows a failed optimization when it sees one.
    std::error_code ignored;
    if (job.writer && method.key != "optimize" && std::filesystem::is_regular_file(output, ignored)) {
      std::filesystem::remove(output, ignored);
    }
  }
  return status == 0 ? 0 : 1;
}

}  // namespace command

int main(int argc, char* argv[]) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() == 1 && words[0] == "info") {
    command::write_versions(std::cout, "");
    std::cout << "STAN_THREADS = true" << std::endl;
    return 0;
  }
  try {
    return command::run(words);
  } catch (const std::exception& error) {
    std::cout << "Error: " << error.what() << std::endl;
    return 1;
  }
}
