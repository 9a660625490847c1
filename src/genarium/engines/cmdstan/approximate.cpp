// The methods of the command line that approximate the posterior: variational inference, Pathfinder and Laplace's method.

#include "command.hpp"

#include <stan/services/experimental/advi/fullrank.hpp>
#include <stan/services/experimental/advi/meanfield.hpp>
#include <stan/services/optimize/laplace_sample.hpp>
#include <stan/services/pathfinder/multi.hpp>
#include <stan/services/pathfinder/single.hpp>

namespace command {

/// Refuses a Hessian for which the Laplace approximation does not exist; the algorithm itself does not look.
class HessianCheck final : public stan::callbacks::structured_writer {
 public:
  using stan::callbacks::structured_writer::write;
  void write(const std::string& key, const Eigen::MatrixXd& matrix) override {
    if (key == "Hessian" && (!matrix.allFinite() || (-matrix).llt().info() != Eigen::Success)) {
      throw std::domain_error("the negative Hessian at the mode is not positive definite: the point given is not a"
                              " proper maximum, and has no Laplace approximation");
    }
  }
};

int variational(Run& run) {
  namespace service = stan::services::experimental::advi;
  const Node& adapt = run.method["adapt"];
  const Inits inits(run, 1);
  FileWriter& output = run.output();
  FileWriter diagnostics = run.diagnostics();
  if (!adapt["engaged"].flag()) {  // the lines where cmdstanpy looks for eta, which only adaptation writes
    output("Stepsize adaptation not engaged.");
    output("eta = " + run.method["eta"].text());
  }
  const auto with = [&](auto&& family) {
    return family(run.model, *inits.contexts[0], run.seed, run.id, inits.radius, run.method["grad_samples"].integer(),
                  run.method["elbo_samples"].integer(), run.method["iter"].integer(),
                  run.method["tol_rel_obj"].real(), run.method["eta"].real(), adapt["engaged"].flag(),
                  adapt["iter"].integer(), run.method["eval_elbo"].integer(), run.method["output_samples"].integer(),
                  run.interrupt, run.console, run.ignored, output, diagnostics);
  };
  return run.method["algorithm"].text() == "meanfield" ? with(service::meanfield<Model>)
                                                       : with(service::fullrank<Model>);
}

int pathfinder(Run& run) {
  namespace service = stan::services::pathfinder;
  const Node& method = run.method;
  const unsigned int paths = method["num_paths"].natural();
  const Inits inits(run, paths);
  FileWriter& output = run.output();
  stan::callbacks::structured_writer diagnostics;
  const int history = method["history_size"].integer();
  const double alpha = method["init_alpha"].real();
  const double tol_obj = method["tol_obj"].real();
  const double tol_rel_obj = method["tol_rel_obj"].real();
  const double tol_grad = method["tol_grad"].real();
  const double tol_rel_grad = method["tol_rel_grad"].real();
  const double tol_param = method["tol_param"].real();
  const int iterations = method["max_lbfgs_iters"].integer();
  const int elbo_draws = method["num_elbo_draws"].integer();
  const int draws = method["num_draws"].integer();
  const bool calculate_lp = method["calculate_lp"].flag();
  if (paths == 1) {
    return service::pathfinder_lbfgs_single<false, false>(
        run.model, *inits.contexts[0], run.seed, run.id, inits.radius, history, alpha, tol_obj, tol_rel_obj, tol_grad,
        tol_rel_grad, tol_param, iterations, elbo_draws, draws, false, run.refresh, run.interrupt, run.console,
        run.ignored, output, diagnostics, calculate_lp);
  }
  std::vector<stan::callbacks::writer> init_writers(paths);
  std::vector<FileWriter> path_writers(paths);
  std::vector<stan::callbacks::structured_writer> path_diagnostics(paths);
  return service::pathfinder_lbfgs_multi(
      run.model, inits.contexts, run.seed, run.id, inits.radius, history, alpha, tol_obj, tol_rel_obj, tol_grad,
      tol_rel_grad, tol_param, iterations, elbo_draws, draws, method["num_psis_draws"].integer(),
      static_cast<int>(paths), false, run.refresh, run.interrupt, run.console, init_writers, path_writers,
      path_diagnostics, output, diagnostics, calculate_lp, method["psis_resample"].flag());
}

template <bool jacobian>
int laplace(Run& run) {
  const std::string& path = run.method["mode"].text();
  if (path.empty()) {
    throw Fault("method=laplace needs mode=<file>");
  }
  // The rows of an optimization are its iterations: the last is the mode.
  const Point mode = read_constrained(run.model, path).back();
  FileWriter& output = run.output();
  HessianCheck hessian;
  return stan::services::laplace_sample<jacobian>(run.model, mode, run.method["draws"].integer(),
                                                  run.method["calculate_lp"].flag(), run.seed, run.refresh,
                                                  run.interrupt, run.console, output, hessian);
}

template int laplace<true>(Run& run);
template int laplace<false>(Run& run);

}  // namespace command
