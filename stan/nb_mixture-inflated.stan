// Negative binomial mixture with zero inflation. The dispersion is known.
//
// Every cell n belongs to one of K components, with probabilities pi. A count is lost, and zero, with a probability that
// depends on its gene:
//
//   pi ~ Dirichlet(alpha0, ..., alpha0)
//   p_kd ~ Beta(a0, b0),  mu_kd = r_d (1 - p_kd) / p_kd,  r_d = 1 / phi_d
//   zero_d ~ Beta(1, zero_b)
//   G_n ~ Categorical(pi)
//   x_nd | G_n = k is 0 with probability zero_d, else ~ NB(mean s_n mu_kd, variance mean + phi_d mean^2)
//
// Groups and losses are summed out; group_probability is in the draws. Components are exchangeable: start chains near
// one mode and relabel before reading pi, mu and group_probability by component.
//
// Units: x and mu are molecules (raw counts), mu in a cell of size factor 1; all else has no unit.
// Source: MCB112 (Harvard), week 5: mixture models and expectation maximisation, for negative binomial counts.
functions {
  #include nb_mixture.stanfunctions
  
  /**
   * Log density of the counts of a cell, each lost with the probability of its gene.
   *
   * @param count counts [gene]
   * @param mean_count means [gene]
   * @param r inverse of the dispersion [gene]
   * @param zero probability of a loss [gene]
   * @return sum of the log densities over the genes
   */
  real inflated_lpmf(array[] int count, vector mean_count, vector r,
                     vector zero) {
    real total = 0;
    for (d in 1 : size(count)) {
      real counted = log1m(zero[d])
                     + neg_binomial_2_lpmf(count[d] | mean_count[d], r[d]);
      total += count[d] == 0 ? log_sum_exp(log(zero[d]), counted) : counted;
    }
    return total;
  }
}
data {
  int<lower=1> cell;
  int<lower=1> gene;
  int<lower=1> component;
  vector<lower=0>[gene] phi; // dispersion: variance = mean + phi mean^2
  vector<lower=0>[cell] size_factor; // s, relative depth; 1 for none
  real<lower=0> alpha0; // concentration of the Dirichlet prior of pi
  real<lower=0> a0; // first parameter of the beta prior of p
  real<lower=0> b0; // second parameter of that prior
  real<lower=0> zero_b; // second parameter of the beta prior of zero
  array[cell, gene] int<lower=0> x; // counts
}
transformed data {
  vector[gene] r = inv(phi);
  matrix[component, gene] log_phi = rep_matrix(log(phi)', component);
}
parameters {
  simplex[component] pi; // weights
  matrix<lower=0>[component, gene] mu; // centroids of the counts that are not lost
  vector<lower=0, upper=1>[gene] zero; // share of the counts that are lost
}
model {
  target += dirichlet_lpdf(pi | rep_vector(alpha0, component));
  target += centroid_lpdf(mu | log_phi, a0, b0);
  target += beta_lpdf(zero | 1, zero_b);
  for (n in 1 : cell) {
    vector[component] lp = log(pi);
    for (k in 1 : component) {
      lp[k] += inflated_lpmf(x[n] | size_factor[n] * mu[k]', r, zero);
    }
    target += log_sum_exp(lp);
  }
}
generated quantities {
  vector[cell] log_lik; // log P(x_n | phi, pi, mu, zero)
  matrix[cell, component] group_probability; // P(G_n = k | x_n, ...)
  array[cell, gene] int x_rep; // replicated counts, of new groups
  for (n in 1 : cell) {
    vector[component] lp = log(pi);
    int g = categorical_rng(pi);
    for (k in 1 : component) {
      lp[k] += inflated_lpmf(x[n] | size_factor[n] * mu[k]', r, zero);
    }
    log_lik[n] = log_sum_exp(lp);
    group_probability[n] = softmax(lp)';
    x_rep[n] = count_rng(size_factor[n] * mu[g]', r);
    for (d in 1 : gene) {
      x_rep[n, d] *= 1 - bernoulli_rng(zero[d]);
    }
  }
}
