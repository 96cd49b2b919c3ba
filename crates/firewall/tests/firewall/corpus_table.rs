//! The deployments of the corpus. `FOLDER` stands for the bed's folder, in which `/srv` of the document lies.

/// One deployment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deployment {
    /// What the document calls it.
    pub(crate) name: &'static str,
    /// The working folder in which it begins.
    pub(crate) place: &'static str,
    /// The script.
    pub(crate) script: &'static str,
    /// Variables besides HOME, PM2_HOME and PATH.
    pub(crate) variables: &'static [(&'static str, &'static str)],
    /// Whose processes it may change.
    pub(crate) owners: &'static [&'static str],
}

const SHOP: &[&str] = &["shop/production"];
const BLOG: &[&str] = &["blog/production"];
const CURRENT: &str = "FOLDER/srv/shop/current";

const fn of_shop(name: &'static str, place: &'static str, script: &'static str) -> Deployment {
    Deployment { name, place, script, variables: &[], owners: SHOP }
}

/// By hand, by cron, over ssh.
pub(crate) const SHELLS: &[Deployment] = &[
    of_shop(
        "the script of the incident's ADR, with its filter right",
        CURRENT,
        "set -e\npm2 jlist --silent > FOLDER/list.json\n\
         names=$(node -e 'for (const p of JSON.parse(require(\"fs\").readFileSync(\"FOLDER/list.json\"))) \
         if (p.name.startsWith(\"shop-\") && !p.name.endsWith(\"-test\")) console.log(p.name)' | sort -u)\n\
         for name in $names; do pm2 delete \"$name\"; done\npm2 start ecosystem.config.js\npm2 save\n",
    ),
    of_shop(
        "startOrReload with an ecosystem file",
        CURRENT,
        "pm2 startOrReload ecosystem.config.js --env production && pm2 save\n",
    ),
    of_shop("restart with --update-env", CURRENT, "NODE_ENV=production pm2 restart shop-api --update-env\n"),
    of_shop("a regex of one's own names", CURRENT, "pm2 restart '/^shop-/'\n"),
    of_shop(
        "releases and a link `current`",
        "FOLDER/opt",
        "set -e\nnew=FOLDER/srv/shop/releases/20260217\nrm -rf $new; cp -a FOLDER/srv/shop/releases/1 $new\n\
         ln -sfn $new FOLDER/srv/shop/current\ncd FOLDER/srv/shop/current\npm2 startOrReload ecosystem.config.js\n",
    ),
    of_shop("cron, with a script in the app's folder", "/", "sh FOLDER/srv/shop/current/bin/nightly.sh\n"),
    Deployment {
        name: "ssh and a command line",
        place: "FOLDER/opt",
        script: "sh -c 'cd FOLDER/srv/shop/current && pm2 reload shop-web'\n",
        variables: &[
            ("SSH_CONNECTION", "203.0.113.7 50122 192.0.2.4 22"),
            ("SSH_CLIENT", "203.0.113.7 50122 22"),
            ("USER", "deploy"),
        ],
        owners: SHOP,
    },
    Deployment {
        name: "a first start",
        place: "FOLDER/srv/shop-test",
        script: "pm2 start ecosystem.config.js\n",
        variables: &[],
        owners: &["shop/test"],
    },
    Deployment {
        name: "a person who goes from folder to folder",
        place: "FOLDER/opt",
        script: "set -e\ncd FOLDER/srv/shop\npm2 restart shop-api\ncd ../shop-test\npm2 restart shop-api-test\n\
                 cd ../blog\npm2 reload blog\ncd ../shop/current\npm2 restart shop-web\n",
        variables: &[],
        owners: &["shop/production", "shop/test", "blog/production"],
    },
];

/// By tools that call `pm2`, or by PM2's own.
pub(crate) const TOOLS: &[Deployment] = &[
    of_shop(
        "delete and start",
        CURRENT,
        "pm2 delete shop-api || true\npm2 start ecosystem.config.js --only shop-api\n",
    ),
    of_shop("stop, migrate, start", CURRENT, "set -e\npm2 stop shop-api\ntrue\npm2 start shop-api\n"),
    of_shop("reload of a cluster", CURRENT, "pm2 reload shop-web\n"),
    of_shop("scale up and down", CURRENT, "set -e\npm2 scale shop-web 3\npm2 scale shop-web 2\n"),
    of_shop(
        "Capistrano: roll back to the release before",
        "FOLDER/opt",
        "set -e\nln -sfn FOLDER/srv/shop/releases/1 FOLDER/srv/shop/current\ncd FOLDER/srv/shop/current\n\
         pm2 reload ecosystem.config.js\n",
    ),
    of_shop(
        "copy the build, restart",
        "FOLDER/opt",
        "set -e\ntar -C FOLDER/srv/shop/releases/1 -cf - . | tar -C FOLDER/srv/shop/current -xf -\n\
         cd FOLDER/srv/shop && pm2 restart shop-api\n",
    ),
    of_shop("npm run deploy", CURRENT, "npm run deploy\n"),
    of_shop("make deploy", CURRENT, "make deploy\n"),
    of_shop("cron, with a cd", "/", "cd FOLDER/srv/shop && pm2 restart shop-api\n"),
    of_shop(
        "PM2's JavaScript API",
        CURRENT,
        "cat > FOLDER/opt/api.js <<'END'\nconst pm2 = require('PM2_MODULE');\npm2.connect(failed => {\n  \
         if (failed) process.exit(2);\n  pm2.restart('shop-api', failed => { pm2.disconnect(); \
         process.exit(failed ? 1 : 0); });\n});\nEND\nnode FOLDER/opt/api.js\n",
    ),
    of_shop(
        "pm2 deploy",
        CURRENT,
        // There is no ssh server here: this one runs the command that it was given, as sshd would, in a home.
        "set -e\nmkdir -p FOLDER/opt/bin FOLDER/opt/git\ncat > FOLDER/opt/bin/ssh <<'END'\n#!/bin/sh\n\
         for last; do :; done\ncd / && exec sh -c \"$last\"\nEND\nchmod +x FOLDER/opt/bin/ssh\n\
         export PATH=FOLDER/opt/bin:$PATH GIT_CONFIG_GLOBAL=/dev/null\ncd FOLDER/opt/git\ngit init -q -b main .\n\
         cp FOLDER/srv/shop/releases/1/server.js .\ncat > ecosystem.config.js <<'END'\nmodule.exports = {\n  apps: \
         [{ name: 'shop-api', script: 'server.js' }],\n  deploy: { production: {\n    user: 'deploy', host: \
         'localhost', ref: 'origin/main', repo: 'FOLDER/opt/git', path: 'FOLDER/srv/shop',\n    'post-deploy': 'pm2 \
         startOrReload ecosystem.config.js --env production',\n  } },\n};\nEND\ngit add . && git -c user.name=a -c \
         user.email=a@b commit -qm one\npm2 deploy ecosystem.config.js production setup\npm2 deploy \
         ecosystem.config.js production\n",
    ),
];

/// By runners of forges: the variables that their runners set, and the steps as they run them.
pub(crate) const FORGES: &[Deployment] = &[
    Deployment {
        name: "a step of GitHub Actions on the host",
        place: "FOLDER/runner/_work/blog/blog",
        script: "pm2 startOrReload ecosystem.json\n",
        variables: &[
            ("CI", "true"),
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_REPOSITORY", "octo/blog"),
            ("GITHUB_WORKFLOW", "Deploy"),
            ("GITHUB_WORKFLOW_REF", "octo/blog/.github/workflows/deploy.yml@refs/heads/main"),
            ("GITHUB_REF", "refs/heads/main"),
            ("GITHUB_REF_NAME", "main"),
            ("GITHUB_SHA", "0123456789012345678901234567890123456789"),
            ("GITHUB_RUN_ID", "17000000001"),
            ("GITHUB_RUN_ATTEMPT", "1"),
            ("GITHUB_JOB", "deploy"),
            ("GITHUB_WORKSPACE", "FOLDER/runner/_work/blog/blog"),
            ("RUNNER_NAME", "web1"),
        ],
        owners: BLOG,
    },
    Deployment {
        name: "a step of Gitea Actions on the host",
        place: "FOLDER/runner/_work/blog/blog",
        script: "pm2 startOrReload ecosystem.json\n",
        variables: &[
            ("CI", "true"),
            ("GITEA_ACTIONS", "true"),
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_REPOSITORY", "octo/blog"),
            ("GITHUB_WORKFLOW", "Deploy"),
            ("GITHUB_REF_NAME", "main"),
            ("GITHUB_SHA", "0123456789012345678901234567890123456789"),
            ("GITHUB_RUN_ID", "311"),
            ("GITHUB_RUN_ATTEMPT", "1"),
            ("GITHUB_JOB", "deploy"),
        ],
        owners: BLOG,
    },
    Deployment {
        name: "a step of Forgejo Actions on the host",
        place: "FOLDER/runner/_work/blog/blog",
        script: "pm2 startOrReload ecosystem.json\n",
        variables: &[
            ("CI", "true"),
            ("FORGEJO_ACTIONS", "true"),
            ("GITEA_ACTIONS", "true"),
            ("GITHUB_ACTIONS", "true"),
            ("FORGEJO_REPOSITORY", "octo/blog"),
            ("FORGEJO_REF_NAME", "main"),
            ("FORGEJO_RUN_ID", "12"),
            ("GITHUB_REPOSITORY", "octo/blog"),
            ("GITHUB_WORKFLOW", "deploy.yml"),
            ("GITHUB_REF_NAME", "main"),
            ("GITHUB_RUN_ID", "12"),
            ("GITHUB_JOB", "deploy"),
        ],
        owners: BLOG,
    },
    Deployment {
        name: "two jobs at once on one runner",
        place: "FOLDER/runner",
        script: "cp /bin/sh FOLDER/act_runner\ncat > FOLDER/opt/one.sh <<'END'\n\
                 export GITHUB_ACTIONS=true GITHUB_REPOSITORY=octo/blog GITHUB_REF_NAME=main GITHUB_RUN_ID=41\n\
                 cd FOLDER/runner/_work/blog/blog && sh -c 'pm2 restart blog'\nEND\n\
                 cat > FOLDER/opt/two.sh <<'END'\n\
                 export GITHUB_ACTIONS=true GITHUB_REPOSITORY=octo/shop GITHUB_REF_NAME=main GITHUB_RUN_ID=42\n\
                 cd FOLDER/srv/shop/current && sh -c 'pm2 reload shop-web'\nEND\n\
                 FOLDER/act_runner -c 'sh FOLDER/opt/one.sh & one=$!; sh FOLDER/opt/two.sh & two=$!; \
                 wait $one && wait $two'\n",
        variables: &[],
        owners: &["blog/production", "shop/production"],
    },
];

/// Under `palisade deploy`, and below a process that was registered.
pub(crate) const UNDER_PALISADE: &[Deployment; 2] = &[
    of_shop(
        "palisade deploy, from anywhere",
        "FOLDER/opt",
        "set -e\npm2 delete shop-api\npm2 start FOLDER/srv/shop/current/server.js --name shop-api --cwd FOLDER/srv/shop/current\n\
         pm2 reload shop-web\n",
    ),
    of_shop("a registered job, from anywhere", "FOLDER/opt", "pm2 restart shop-api\n"),
];
