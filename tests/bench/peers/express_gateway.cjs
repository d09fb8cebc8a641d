// express-gateway handing on, with neither authentication nor limit: its rate-limit policy stops answering after a few
// requests. usage: node express_gateway.cjs PORT UPSTREAM
const fs = require('fs')
const os = require('os')
const path = require('path')

const models = path.join(path.dirname(require.resolve('express-gateway')), 'config', 'models')
const [port, upstream] = process.argv.slice(2)
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'express-gateway-'))
fs.writeFileSync(path.join(folder, 'gateway.config.yml'), `
http: {port: ${port}, hostname: 127.0.0.1}
apiEndpoints: {api: {host: '*', paths: ['/orders', '/orders/*']}}
serviceEndpoints: {behind: {url: 'http://127.0.0.1:${upstream}'}}
policies: [proxy]
pipelines:
  default:
    apiEndpoints: [api]
    policies:
      - proxy: [{action: {serviceEndpoint: behind, changeOrigin: true}}]
`)
fs.writeFileSync(path.join(folder, 'system.config.yml'), `
db: {redis: {emulate: true, namespace: EG}}
crypto: {cipherKey: bench, algorithm: aes256, saltRounds: 10}
session: {secret: bench, resave: false, saveUninitialized: false}
accessTokens: {timeToExpiry: 7200000}
refreshTokens: {timeToExpiry: 7200000}
authorizationCodes: {timeToExpiry: 300000}
`)
fs.cpSync(models, path.join(folder, 'models'), { recursive: true })
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    fs.rmSync(folder, { recursive: true, force: true })
    process.exit(0)
  })
}
require('express-gateway')().load(folder).run()
