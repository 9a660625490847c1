// Mendelian randomisation with several exposures: the direct effect of each.
//
//   gamma_jk = sum_l phi_kl gamma_jl + sigma_k Normal(0, 1), l < k      true effects of variant j on exposure k
//   a_j ~ Normal(0, omega)
//   (x_j, y_j) ~ MultiNormal((gamma_j, theta' gamma_j + a_j), errors correlated by P and rho)
//   theta_k ~ Normal(0, S_Y / S_k), sigma_k ~ HalfNormal(S_k), phi_kl ~ Normal(0, S_k / S_l)
//   omega ~ HalfNormal(S_Y / 2)
//
// gamma and a are summed out.
//
// Units: as in mendelian_randomization.stan, every exposure in its own. Source: Sanderson, Davey Smith, Windmeijer and
// Bowden, Int J Epidemiol 48:713 (2019); Grant and Burgess, Am J Hum Genet 109:767 (2022).
functions {
  // Covariance of a variant's true effects on the exposures and the outcome.
  matrix of_effects(vector theta, vector sd, vector loading, real omega) {
    int K = rows(theta);
    matrix[K, K] gamma = rep_matrix(0, K, K);
    matrix[K + 1, K + 1] own;
    int at = 0;
    for (k in 1 : K) {
      vector[k - 1] phi = loading[at + 1 : at + k - 1];
      if (k > 1) {
        gamma[1 : k - 1, k] = gamma[1 : k - 1, 1 : k - 1] * phi;
        gamma[k, 1 : k - 1] = gamma[1 : k - 1, k]';
        gamma[k, k] = quad_form(gamma[1 : k - 1, 1 : k - 1], phi);
      }
      gamma[k, k] += square(sd[k]);
      at += k - 1;
    }
    own[1 : K, 1 : K] = gamma;
    own[1 : K, K + 1] = gamma * theta;
    own[K + 1, 1 : K] = own[1 : K, K + 1]';
    own[K + 1, K + 1] = quad_form(gamma, theta) + square(omega);
    return own;
  }
}
data {
  int<lower=1> variant;
  int<lower=2> exposure;
  int<lower=2> other_exposure;
  int<lower=1> pair;
  matrix<lower=0>[variant, exposure] se_exposure; // s_x
  vector<lower=0>[variant] se_outcome; // s_y
  matrix[exposure, other_exposure] exposure_correlation; // P
  vector[exposure] outcome_correlation; // rho
  vector<lower=0>[exposure] exposure_scale; // S_k
  real<lower=0> outcome_scale; // S_Y
  matrix[variant, exposure] beta_exposure; // x
  vector[variant] beta_outcome; // y
}
transformed data {
  int K = exposure;
  array[variant] vector[K + 1] seen;
  array[variant] matrix[K + 1, K + 1] noise;
  for (j in 1 : variant) {
    vector[K + 1] s = append_row(se_exposure[j]', se_outcome[j]);
    matrix[K + 1, K + 1] together = identity_matrix(K + 1);
    together[1 : K, 1 : K] = exposure_correlation;
    together[1 : K, K + 1] = outcome_correlation;
    together[K + 1, 1 : K] = outcome_correlation';
    noise[j] = quad_form_diag(together, s);
    seen[j] = append_row(beta_exposure[j]', beta_outcome[j]);
  }
}
parameters {
  vector[exposure] theta;
  vector<lower=0>[exposure] exposure_sd; // sigma
  vector[pair] loading; // phi
  real<lower=0> pleiotropy_sd; // omega
}
model {
  theta ~ normal(0, outcome_scale / exposure_scale);
  exposure_sd ~ normal(0, exposure_scale);
  pleiotropy_sd ~ normal(0, 0.5 * outcome_scale);
  {
    matrix[K + 1, K + 1] own = of_effects(theta, exposure_sd, loading, pleiotropy_sd);
    int at = 0;
    for (k in 2 : K) {
      for (l in 1 : k - 1) {
        at += 1;
        loading[at] ~ normal(0, exposure_scale[k] / exposure_scale[l]);
      }
    }
    for (j in 1 : variant) {
      target += multi_normal_lpdf(seen[j] | zeros_vector(K + 1), own + noise[j]);
    }
  }
}
generated quantities {
  vector[variant] log_lik;
  matrix[variant, exposure] beta_exposure_rep;
  vector[variant] beta_outcome_rep;
  {
    matrix[K + 1, K + 1] own = of_effects(theta, exposure_sd, loading, pleiotropy_sd);
    for (j in 1 : variant) {
      vector[K + 1] again = multi_normal_rng(zeros_vector(K + 1), own + noise[j]);
      log_lik[j] = multi_normal_lpdf(seen[j] | zeros_vector(K + 1), own + noise[j]);
      beta_exposure_rep[j] = again[1 : K]';
      beta_outcome_rep[j] = again[K + 1];
    }
  }
}
