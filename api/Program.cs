using System.Text.Json;
using System.Text.Json.Serialization;
using Api.Audit;
using Api.Dashboard;
using Api.Data;
using Api.Devices;
using Api.Events;
using Api.Faults;
using Api.Guests;
using Api.Http;
using Api.Images;
using Api.Metrics;
using Api.Nodes;
using Api.Projects;
using Api.Replicas;
using Api.Sandboxes;
using Api.Webhooks;
using Contracts;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.SignalR;
using Microsoft.EntityFrameworkCore;
using Npgsql;
using Scalar.AspNetCore;

var builder = WebApplication.CreateBuilder(args);
if (args is [HealthProbe.Verb])
    return await HealthProbe.RunAsync(builder.Configuration["Urls"], Console.Error);
builder.WebHost.ConfigureKestrel(o =>
{
    o.AddServerHeader = false;
    o.Limits.MaxRequestBodySize = Idempotency.MaxBodyBytes;
});
builder.Logging.AddFilter("Microsoft.EntityFrameworkCore", LogLevel.Warning).AddFilter("Microsoft.AspNetCore", LogLevel.Warning)
    // What a stranger sends is not the log's to grow with.
    .AddFilter(typeof(ApiKeyHandler).FullName, LogLevel.Warning).AddFilter(typeof(NodeTokenHandler).FullName, LogLevel.Warning)
    .AddFilter(typeof(JoinTokenHandler).FullName, LogLevel.Warning).AddFilter(HubFailures.SilencedCategory, LogLevel.None);
var connectionString = ConnectionText.Choose(
    builder.Configuration.GetConnectionString(ConnectionText.Setting), builder.Configuration.GetConnectionString(ConnectionText.FileSetting), File.ReadAllText);
builder.Services.AddSingleton(TimeProvider.System);
builder.Services.AddHttpContextAccessor().AddSingleton<ForwardedCaller>().AddSingleton<AuditTrail>();
builder.Services.AddSingleton(_ => SandboxDb.OpenSource(connectionString));
builder.Services.AddDbContext<SandboxDb>((services, o) =>
    SandboxDb.Configure(o, services.GetRequiredService<NpgsqlDataSource>()).AddInterceptors(services.GetRequiredService<AuditTrail>()));
builder.Services.AddDataProtection().SetApplicationName("Sandbox").PersistKeysToDbContext<SandboxDb>();
builder.Services.AddSandboxAuthentication();
if (OidcSettings.Read(builder.Configuration) is { } oidc) OidcSignIn.Add(builder.Services, oidc);
RateLimits.Add(builder.Services, RateLimits.Read(builder.Configuration));
builder.Services.AddProblemDetails();
builder.Services.AddOpenApi(OpenApiDocument.Configure);
builder.Services.ConfigureHttpJsonOptions(o =>
{
    o.SerializerOptions.UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow;
    o.SerializerOptions.NumberHandling = JsonNumberHandling.Strict;
    o.SerializerOptions.AllowDuplicateProperties = false;
    o.SerializerOptions.Converters.Add(new JsonObjectReading());
});
builder.Services.Configure<RouteHandlerOptions>(o => o.ThrowOnBadRequest = true);
builder.Services.AddSingleton<HubFailures>().AddSingleton<HubAccess>();
builder.Services.AddSignalR(o => { o.MaximumReceiveMessageSize = 8 * 1024 * 1024; o.AddFilter<HubFailures>(); })
    .AddHubOptions<DashboardHub>(o => { o.MaximumReceiveMessageSize = 32 * 1024; o.AddFilter<HubAccess>(); });

builder.Services.AddSingleton<ConsoleRelay>().AddSingleton<OpenConnections>().AddSingleton<FaultLive>().AddSingleton<FaultLatest>().AddSingleton<SandboxActivity>().AddSingleton<FaultIntake>().AddSingleton<NodePlans>().AddSingleton<AnsweredReports>().AddSingleton<NodeTurns>().AddSingleton<NodeSync>().AddSingleton<NodeInventories>().AddSingleton<RefusedMachines>().AddSingleton<WorkerRefusals>().AddSingleton<NodeCredentials>();
builder.Services.AddScoped<SandboxWishes>().AddScoped<SandboxSettings>().AddScoped<StormPolicies>().AddScoped<SandboxLeases>().AddScoped<NodeCordons>().AddScoped<NodeRotations>().AddScoped<NodeDecommissions>().AddScoped<DeviceQuarantines>().AddScoped<NodeJoining>();
builder.Services.AddSingleton(GuestSettings.Read(builder.Configuration)).AddSingleton<GuestRelay>().AddScoped<GuestAccess>().AddScoped<GuestSandboxes>();
builder.Services.AddSingleton(ReplicaSettings.Read(builder.Configuration)).AddSingleton<GuestForwarding>().AddHttpForwarder();
AddHosted<ReplicaPresence>();
builder.Services.AddSingleton(EventSettings.Read(builder.Configuration)).AddSingleton<EventStreams>();
AddHosted<EventSignal>();
AddHosted<EventRetention>();
AddHosted<SandboxSignal>();
builder.Services.AddSingleton(PlacementSettings.Read(builder.Configuration));
AddHosted<SandboxScheduler>();
AddHosted<PreemptionNotices>();
AddHosted<LeaseExpiry>();
AddHosted<SandboxRestarts>();
AddHosted<IdempotencyRetention>();
AddHosted<ConnectionWatch>();
AddHosted<NodeWatch>();
AddHosted<NodeDrains>();
builder.Services.AddSingleton(WebhookSettings.Read(builder.Configuration)).AddSingleton<ResolveName>(System.Net.Dns.GetHostAddressesAsync)
    .AddSingleton<WebhookClient>().AddSingleton<ProtectedSecrets>();
// They stop in the other order: no more claims, then what runs, then what came of it is stored.
AddHosted<DeliveryResults>();
AddHosted<WebhookDispatch>();
AddHosted<WebhookFanout>();
AddHosted<WebhookRetention>();
builder.Services.AddSingleton(ImageSettings.Read(builder.Configuration)).AddSingleton<ContentStore>().AddSingleton<ImageClient>().AddSingleton<UploadRooms>().AddSingleton<NodeFileRooms>().AddScoped<ImageFiles>();
AddHosted<ImageDownloads>();
AddHosted<ImageSweep>();
builder.Services.AddSingleton(FaultRetention.Read(builder.Configuration));
AddHosted<FaultPartitions>();
AddHosted<FaultRollups>();
AddHosted<FaultStore>();

var app = builder.Build();
app.UseExceptionHandler(new ExceptionHandlerOptions
{
    ExceptionHandler = ApiProblem.HandleAsync,
    // A request that could not be read is the caller's news, not the log's.
    SuppressDiagnosticsCallback = e => e.Exception is BadHttpRequestException or DbUpdateConcurrencyException,
});
app.UseStatusCodePages(c => ApiProblem.HandleStatusAsync(c.HttpContext));
app.Use(Headers.AnswerHead);
app.Use(Headers.Secure);
app.Use(Headers.RefuseCharset);
WebPage.Use(app);
app.UseWebSockets();
app.UseRouting();
app.UseAuthentication();
app.UseRateLimiter();
app.Use(Schemes.GuardCookies);
app.Use(Schemes.GuardDocs);
app.UseAuthorization();
app.Use(Idempotency.AnswerOnce);
app.Use(GuestForwarding.AnswerWhereItsNodeIs);

app.MapHealth();
app.MapSession();
app.MapOidc();
var v1 = app.MapGroup("").AddEndpointFilterFactory(QueryNames.Refuse);
v1.MapProjects();
v1.MapKeys();
v1.MapSandboxes();
v1.MapGuests();
v1.MapFaults();
v1.MapMetrics();
v1.MapNodes();
v1.MapDevices();
v1.MapPlacements();
v1.MapImages();
v1.MapEvents();
v1.MapWebhooks();
v1.MapAudit();
app.MapHub<NodeHub>(NodeProtocol.HubPath);
app.MapHub<DashboardHub>(DashboardHubContract.Path).Requires(Role.Viewer);
app.MapOpenApi("/openapi/v1.json").Requires(Role.Viewer);
app.MapScalarApiReference("/docs").Requires(Role.Viewer);
WebPage.MapFallback(app);
await app.RunAsync();
return 0;

void AddHosted<T>() where T : class, IHostedService
{
    builder.Services.AddSingleton<T>();
    builder.Services.AddHostedService(services => services.GetRequiredService<T>());
}
